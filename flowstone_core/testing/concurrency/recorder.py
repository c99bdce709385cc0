"""Recorder of store operations: reports those that must not happen."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from flowstone_core.model.asset import AssetFunction, Context
from flowstone_core.model.partition import encode_partition
from flowstone_core.store import Store

_NEWEST = 100
_PAUSE = 0.002
# The share of writes that stall, for how many operations of others at most, and seconds.
_STALLED, _OPERATIONS, _STALL = 0.3, 10, 0.2


class Recorder:
    """Watches asset functions and the store while threads are at work; any thread may call it.

    Args:
        failing: The share of calls of asset functions that raise.
        seed: Which ones do.

    Attributes:
        failing: As it was given.
        stalling: True if writes stall.
        operations: How often each operation was done.
        errors: How often each was refused, with the kind of the error.
        calls: How often an asset function was called.
    """

    def __init__(self, failing: float, seed: int) -> None:
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._chance = Random(f"{seed} asset")  # noqa: S311 - a seed is the point of it
        self.failing = failing
        self.stalling = True
        self._under_way: Counter[str] = Counter()
        self._cancelled: set[str] = set()
        self._slots: dict[str, tuple[str, str]] = {}
        self._run_ids: dict[int, str] = {}
        self.operations: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.calls = 0
        self._problems: dict[str, None] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """The forbidden operations that happened."""
        return tuple(self._problems)

    def blame(self, problem: str) -> None:
        """Note what must not have happened."""
        with self._lock:
            self._problems[problem] = None

    def count(self, operation: str, refused: str | None = None) -> None:
        """Note that an operation was done, or that it was refused."""
        with self._lock:
            self.operations[operation] += 1
            if refused is not None:
                self.errors[f"{operation}: {refused}"] += 1
            self._done.notify_all()

    def stall(self, repository: object, name: str) -> None:
        """Stall a runner now and then before it writes, until others have done something.

        So what it knew is old when it goes on, as after a pause of its machine.

        Args:
            repository: The runner's.
            name: The method that writes.
        """
        write: Callable[..., object] = getattr(repository, name)

        def stalled(*arguments: object, **options: object) -> object:
            with self._done:
                if self.stalling and self._chance.random() < _STALLED:
                    until = self.operations.total() + self._chance.randint(1, _OPERATIONS)
                    self._done.wait_for(lambda: self.operations.total() >= until, _STALL)
            return write(*arguments, **options)

        setattr(repository, name, stalled)

    def cancelling(self, run_id: str) -> None:
        """Note that a run is about to be cancelled.

        What runs of it goes on to its end, and if it is retried by hand there are two of it.
        """
        with self._lock:
            self._cancelled.add(run_id)

    def watched_asset_function(self) -> AssetFunction:
        """Return an asset function whose calls are watched."""

        def make(context: Context) -> None:
            with self._call(context) as fails:
                # A moment, for others to come between; nothing depends on how long it is.
                threading.Event().wait(_PAUSE)
                if fails:
                    raise ConnectionError("the harness lets a call fail now and then")

        return make

    @contextmanager
    def _call(self, context: Context) -> Iterator[bool]:
        run_id, slot = context.run_id, (context.asset, encode_partition(context.partition))
        with self._lock:
            self.calls += 1
            self._under_way[run_id] += 1
            # One that was cancelled, and retried, runs beside what could not be stopped of it.
            at_once = 1 if run_id in self._cancelled else self._under_way[run_id]
            before = self._slots.setdefault(run_id, slot)
            fails = self._chance.random() < self.failing
        if at_once > 1:
            self.blame(f"{at_once} attempts of run {run_id} ({_shown(slot)}) were made at once")
        if before != slot:
            self.blame(f"run {run_id} was of {_shown(before)}, and then of {_shown(slot)}")
        try:
            yield fails
        finally:
            with self._lock:
                self._under_way[run_id] -= 1

    def look(self, store: Store, limit: int = _NEWEST) -> None:
        """See that run ids are what they were."""
        for row in store.materializations.latest(limit=limit):
            with self._lock:
                before = self._run_ids.setdefault(row.id, row.run_id)
            if before != row.run_id:
                self.blame(
                    f"materialization {row.id} ({_shown((row.asset, row.partition))}) had the run "
                    f"id {before}, and then {row.run_id}"
                )

    def check_calls(self) -> None:
        """See at the end that each call had the run id of a materialization."""
        for run_id in self._slots.keys() - set(self._run_ids.values()):
            self.blame(f"run {run_id} ({_shown(self._slots[run_id])}) is of no materialization")


class Versions:
    """The versions of what is stored, as one thread reads them.

    Args:
        read: Returns each one that there is, by what it is of.
        blame: Told of one that went back.
    """

    def __init__(self, read: Callable[[], dict[str, int]], blame: Callable[[str], None]) -> None:
        self._read = read
        self._blame = blame
        self._known: dict[str, int] = {}

    def look(self) -> None:
        """See that none went back."""
        for name, version in self._read().items():
            before = self._known.get(name, version)
            if version < before:
                self._blame(f"the version of {name} went back, from {before} to {version}")
            self._known[name] = version


def _shown(slot: tuple[str, str]) -> str:
    asset, partition = slot
    return f"{asset} {partition!r}"
