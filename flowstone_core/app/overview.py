"""Overview of a store: its runners, and what each of them owns and runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from flowstone_core.app.backfill_status import BackfillStatus, backfill_statuses
from flowstone_core.app.status import ScheduleStatus, SensorStatus
from flowstone_core.model.clock import Clock, StoreClock
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.role import Role
from flowstone_core.runtime.coordination.clock_watch import LARGEST_OFFSET
from flowstone_core.store import Store


@dataclass(frozen=True, slots=True)
class RunnerStatus(RunnerInfo):
    """A living runner, and what it has to do.

    Attributes:
        sensors: Number of sensors that it owns.
        schedules: Number of schedules that it owns.
        running: Number of materializations that it runs.
    """

    sensors: int = 0
    schedules: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """Overview of a store.

    Attributes:
        store: The store's URL, without its password.
        runners: The live runners.
        materializations: Their number in each state.
        backfills: The unfinished ones, newest first, at most 50.
        oldest_due: Since when the oldest materialization that may start is due; None if none is.
        clock_offset: Seconds by which the clock of this machine is ahead of the store's; None if
            the store has no clock (SQLite).
    """

    store: str
    runners: tuple[RunnerStatus, ...]
    sensors: tuple[SensorStatus, ...]
    schedules: tuple[ScheduleStatus, ...]
    materializations: Mapping[MaterializationState, int]
    backfills: tuple[BackfillStatus, ...] = ()
    oldest_due: datetime | None = None
    clock_offset: float | None = None

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each thing about runners and clocks that an operator should know."""
        if self.runners and not any(runner.materializes for runner in self.runners):
            roles = " or ".join(role for role in Role if role.materializes)
            yield f"no living runner runs materializations (start one with --role {roles})"
        ticked = self.sensors or self.schedules
        if self.runners and ticked and not any(runner.ticks for runner in self.runners):
            roles = " or ".join(role for role in Role if role.ticks)
            yield f"no living runner ticks sensors or schedules (start one with --role {roles})"
        if _is_wrong(self.clock_offset):
            yield f"the clock of this machine is {_apart(self.clock_offset)}"
        for runner in self.runners:
            name = f"{runner.host} (pid {runner.pid})"
            if _is_wrong(runner.clock_offset):
                yield f"the clock of {name} is {_apart(runner.clock_offset)}"
            if runner.clock_offset is not None and runner.lock_key is None:
                yield (
                    f"{name} holds no session lock, perhaps because of a pooler: if it dies, "
                    "others take over at the end of its lease"
                )


def overview(
    store: Store,
    sensors: Iterable[SensorStatus],
    schedules: Iterable[ScheduleStatus],
    clock: Clock,
) -> Status:
    """Return the overview of a store."""
    now = clock.now()
    sensors, schedules = tuple(sensors), tuple(schedules)
    load = store.materializations.load(now)
    polled, fired = (Counter(each.owner for each in owned) for owned in (sensors, schedules))
    runners = (
        RunnerStatus(
            **{field.name: getattr(info, field.name) for field in fields(RunnerInfo)},
            sensors=polled[info.id],
            schedules=fired[info.id],
            running=load.running.get(info.id, 0),
        )
        for info in store.runners.all(alive_at=now)
    )
    return Status(
        store.url,
        tuple(runners),
        sensors,
        schedules,
        store.materializations.counts(),
        backfill_statuses(store, store.backfills.latest(unfinished=True), now),
        load.oldest_due,
        clock.offset if isinstance(clock, StoreClock) else None,
    )


def _is_wrong(offset: float | None) -> bool:
    return offset is not None and abs(offset) > LARGEST_OFFSET


def _apart(offset: float | None) -> str:
    seconds = offset or 0.0
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the store's"
