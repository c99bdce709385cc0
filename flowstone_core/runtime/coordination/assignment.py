"""A runner's share of the sensors, or of the schedules: what it owns, what it lost, what is free.

An operator who pauses, resumes, resets or edits one takes it from its runner; so one look at those
that nobody owns shows everything that happened, and costs the same however many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from flowstone_core.model.clock import Clock
from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.runtime.coordination.registration import declare_schedules
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, Store

T = TypeVar("T")


class Assignment(ABC, Generic[T]):
    """What of one kind is this runner's.

    Args:
        on_claimed: Called with each one that is this runner's from now on.
        on_lost: Called with each one that is not any more.
    """

    def __init__(
        self, on_claimed: Callable[[str, T], None], on_lost: Callable[[str], None]
    ) -> None:
        self._on_claimed = on_claimed
        self._on_lost = on_lost
        self._owned: set[str] = set()
        self._forgotten: set[str] = set()

    def open(self) -> None:
        """Make what is declared known to the store, and claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._declare()
        self._claim_all(self._all())

    def look(self, *, take_over: bool) -> None:
        """Look once: say what is lost, claim what is free.

        Args:
            take_over: Whether to look also for those of runners that are not heard of any more.

        Raises:
            StoreError: If the store cannot be used.
        """
        free = self._unowned()
        for name in free & self._owned:
            self._owned.discard(name)
            self._on_lost(name)
        wanted = free | self._forgotten
        self._forgotten -= wanted
        if take_over:
            wanted |= self._all()
        self._claim_all(wanted)

    def forget(self, name: str) -> None:
        """Hear that a commit was refused: it is looked at anew. Any thread."""
        self._owned.discard(name)
        self._forgotten.add(name)
        self._on_lost(name)

    @abstractmethod
    def _declare(self) -> None:
        """Make what is declared known to the store."""

    @abstractmethod
    def _unowned(self) -> set[str]:
        """Return those that this runner could tick and nobody owns, paused ones among them."""

    @abstractmethod
    def _all(self) -> set[str]:
        """Return those that this runner could own and does not."""

    @abstractmethod
    def _claim(self, names: Sequence[str]) -> Mapping[str, T]:
        """Claim those of the names that are free."""

    def _claim_all(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if wanted:
            for name, found in self._claim(wanted).items():
                self._owned.add(name)
                self._on_claimed(name, found)


class SensorAssignment(Assignment[SensorCheckpoint]):
    """The sensors that are this runner's.

    Args:
        names: Those that it can tick.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        runner_id: str,
        names: Collection[str],
        on_claimed: Callable[[str, SensorCheckpoint], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(on_claimed, on_lost)
        self._store = store
        self._clock = clock
        self._runner_id = runner_id
        self._names = frozenset(names)

    def _declare(self) -> None:
        self._store.sensors.declare(sorted(self._names), self._clock.now())

    def _unowned(self) -> set[str]:
        return self._store.sensors.unowned() & self._names

    def _all(self) -> set[str]:
        return set(self._names - self._owned)

    def _claim(self, names: Sequence[str]) -> Mapping[str, SensorCheckpoint]:
        return self._store.sensors.claim(self._runner_id, names, self._clock.now())


class ScheduleAssignment(Assignment[ScheduleRecord]):
    """The schedules that are this runner's: those it declares, and those nobody declares.

    Args:
        declared: What files and pipelines say.
        assets: The names of the assets that this runner can make.
        make: Makes a schedule of its record; may raise.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        runner_id: str,
        declared: Mapping[str, DeclaredSchedule],
        assets: Collection[str],
        make: Callable[[ScheduleRecord], Schedule],
        on_claimed: Callable[[str, ScheduleRecord], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(on_claimed, on_lost)
        self._store = store
        self._clock = clock
        self._runner_id = runner_id
        self._declared = declared
        self._assets = assets
        self._make = make

    def _declare(self) -> None:
        declare_schedules(self._store, self._declared.values(), self._make, self._clock)

    def _unowned(self) -> set[str]:
        return self._mine(self._store.schedules.unowned(self._runner_id))

    def _all(self) -> set[str]:
        now = self._clock.now()
        return self._mine(self._store.schedules.unowned(self._runner_id, taken_over_at=now))

    def _claim(self, names: Sequence[str]) -> Mapping[str, ScheduleRecord]:
        return self._store.schedules.claim(self._runner_id, names, self._clock.now())

    def _mine(self, unowned: Mapping[str, str | None]) -> set[str]:
        return {
            name
            for name, asset in unowned.items()
            if name in self._declared or (asset is not None and asset in self._assets)
        }
