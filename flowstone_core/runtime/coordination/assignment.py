"""Assignment: the sensors, or the schedules, that a runner owns; claims free ones.

Pausing, resuming, resetting or editing a sensor or schedule takes it from its runner. So one query
for those without an owner finds everything that operators did, at a cost that does not grow with
the number of sensors. Another runner that takes over leaves none without an owner: a count shows
that this runner has lost something, and only then the names are read.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.runtime.coordination.registration import declare_schedules
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.workload import BuildSchedule, Workload
from flowstone_core.store import ScheduleRecord

T = TypeVar("T")

logger = logging.getLogger("flowstone.reconciler")


class Assignment(ABC, Generic[T]):
    """Tracks which sensors (or schedules) a runner owns, and claims free ones.

    Args:
        kind: ``sensor`` or ``schedule``.
        on_claimed: Called with the name and the record of each that the runner owns from now on.
        on_lost: Called with the name of each that the runner no longer owns.
    """

    def __init__(
        self, kind: str, on_claimed: Callable[[str, T], None], on_lost: Callable[[str], None]
    ) -> None:
        self._kind = kind
        self._on_claimed = on_claimed
        self._on_lost = on_lost
        self._owned: set[str] = set()
        self._forgotten: set[str] = set()

    def open(self) -> None:
        """Declare the sensors or schedules to the store, and claim free ones.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._declare()
        self._claim_all(self._claimable())

    def reconcile(self, *, take_over: bool) -> None:
        """Reconcile once with the store: report the lost ones, claim free ones.

        Args:
            take_over: Also claim those of runners whose leases have expired.

        Raises:
            StoreError: If the store cannot be used.
        """
        free = self._unowned()
        for name in free & self._owned:
            self._lose(name)
        if take_over or self._count_owned() != len(self._owned):
            self._give_up_taken_over()
        wanted = free | self._forgotten
        self._forgotten -= wanted
        if take_over:
            wanted |= self._claimable()
        self._claim_all(wanted)

    def forget(self, name: str) -> None:
        """Give up one whose commit was refused; it may be claimed again. Any thread."""
        self._forgotten.add(name)
        self._lose(name)

    @abstractmethod
    def _declare(self) -> None:
        """Declare the sensors or schedules to the store."""

    @abstractmethod
    def _unowned(self) -> set[str]:
        """Return those without an owner that this runner is able to run, paused ones included."""

    @abstractmethod
    def _count_owned(self) -> int:
        """Return the number of those that the store has this runner as the owner of."""

    @abstractmethod
    def _read_owned(self) -> set[str]:
        """Return those that the store has this runner as the owner of."""

    @abstractmethod
    def _claimable(self) -> set[str]:
        """Return those that this runner is able to own and does not."""

    @abstractmethod
    def _claim(self, names: Sequence[str]) -> Mapping[str, T]:
        """Claim those of the names that are free."""

    def _give_up_taken_over(self) -> None:
        """Give up those that another runner claimed while this one did not renew its lease."""
        before = set(self._owned)
        taken = sorted(before - self._read_owned())
        if taken:
            extra = {"kind": self._kind, "count": len(taken), "examples": ", ".join(taken[:5])}
            logger.warning("taken over by another runner; no longer ticked here", extra=extra)
        for name in taken:
            self._lose(name)

    def _lose(self, name: str) -> None:
        self._owned.discard(name)
        self._on_lost(name)

    def _claim_all(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if wanted:
            for name, found in self._claim(wanted).items():
                self._owned.add(name)
                self._on_claimed(name, found)


class SensorAssignment(Assignment[SensorCheckpoint]):
    """Assignment of the sensors that a runner declares.

    Args:
        session: The runner's session.
        names: Names of the sensors that the runner is able to poll.
    """

    def __init__(
        self,
        session: RunnerSession,
        names: Collection[str],
        on_claimed: Callable[[str, SensorCheckpoint], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__("sensor", on_claimed, on_lost)
        self._store = session.store
        self._clock = session.clock
        self._runner_id = session.runner_id
        self._names = frozenset(names)

    def _declare(self) -> None:
        self._store.sensors.declare(sorted(self._names), self._clock.now())

    def _unowned(self) -> set[str]:
        return self._store.sensors.unowned() & self._names

    def _count_owned(self) -> int:
        return self._store.sensors.count_owned(self._runner_id)

    def _read_owned(self) -> set[str]:
        return self._store.sensors.owned(self._runner_id)

    def _claimable(self) -> set[str]:
        return set(self._names - self._owned)

    def _claim(self, names: Sequence[str]) -> Mapping[str, SensorCheckpoint]:
        return self._store.sensors.claim(self._runner_id, names, self._clock.now())


class ScheduleAssignment(Assignment[ScheduleRecord]):
    """Assignment of the schedules that a runner declares, and of those of its assets.

    Args:
        session: The runner's session.
        workload: The declared schedules, and the assets that the runner is able to materialize.
        build: Builds a schedule from its record.
    """

    def __init__(
        self,
        session: RunnerSession,
        workload: Workload,
        build: BuildSchedule,
        on_claimed: Callable[[str, ScheduleRecord], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__("schedule", on_claimed, on_lost)
        self._store = session.store
        self._clock = session.clock
        self._runner_id = session.runner_id
        self._declared = workload.schedules
        self._assets = workload.assets
        self._build = build

    def _declare(self) -> None:
        declare_schedules(self._store, self._declared.values(), self._build, self._clock)

    def _unowned(self) -> set[str]:
        return self._runnable(self._store.schedules.unowned(self._runner_id))

    def _count_owned(self) -> int:
        return self._store.schedules.count_owned(self._runner_id)

    def _read_owned(self) -> set[str]:
        return self._store.schedules.owned(self._runner_id)

    def _claimable(self) -> set[str]:
        now = self._clock.now()
        return self._runnable(self._store.schedules.unowned(self._runner_id, taken_over_at=now))

    def _claim(self, names: Sequence[str]) -> Mapping[str, ScheduleRecord]:
        return self._store.schedules.claim(self._runner_id, names, self._clock.now())

    def _runnable(self, unowned: Mapping[str, str | None]) -> set[str]:
        return {
            name
            for name, asset in unowned.items()
            if name in self._declared or (asset is not None and asset in self._assets)
        }
