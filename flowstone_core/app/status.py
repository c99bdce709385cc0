"""How things stand, for people: what commands and pages show of the store and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.safe_text import describe, printable
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import TickOutcome
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.scheduling.builtin_triggers import BUILT_IN
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import ScheduleRecord, SensorRecord

WORDS_LIMIT = 500
"""Most characters that a trigger may say of itself."""


class SensorHealth(StrEnum):
    """How a sensor does, in one word; the first that applies."""

    DISABLED = "disabled"
    """Switched off where it is declared."""
    PAUSED = "paused"
    """Stopped by an operator."""
    BROKEN = "broken"
    """It said that no retry helps; it waits for a reset."""
    QUARANTINED = "quarantined"
    """Failed so often in a row that it is tried once an hour."""
    STALE = "stale"
    """No good poll for its ``stale_after``."""
    FAILING = "failing"
    NEW = "new"
    """Not polled yet."""
    UNDECLARED = "undeclared"
    """Known to the store, and declared nowhere any more."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor, as declared and as the store knows it.

    Attributes:
        type: What configuration calls it; None when it is declared nowhere any more.
        failures: Failed ticks in a row.
        not_before: When it is polled next at the earliest, if it backs off.
        last_tick_at: The last tick that was not quiet.
        owner: The id of the runner that ticks it.
        stale_since: When its last good poll ended, or its runner began, if that is too long ago.
    """

    name: str
    health: SensorHealth
    type: str | None = None
    asset: str | None = None
    every: timedelta | None = None
    where: str = ""
    failures: int = 0
    not_before: datetime | None = None
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    last_error: str | None = None
    owner: str | None = None
    stale_since: datetime | None = None


class ScheduleHealth(StrEnum):
    """How a schedule does, in one word; the first that applies."""

    UNDECLARED = "undeclared"
    """A file or a pipeline declared it once, and does not any more."""
    DISABLED = "disabled"
    """Switched off by its setting."""
    PAUSED = "paused"
    """Stopped by an operator, or by a failure."""
    BROKEN = "broken"
    """It cannot be made here: its trigger is not installed, say."""
    FAILING = "failing"
    """Its trigger, or its ``partition_fn``, does not do what it should."""
    ENDED = "ended"
    """Nothing is to come."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """One schedule, as it was said and as the store knows it.

    Attributes:
        trigger: Its name, as configuration writes it.
        text: What the trigger is made of.
        words: The same in plain words.
        origin: ``file:line`` of its declaration, or ``command``.
        edited: The settings that were changed at run time and lie over the declaration.
        settings: All that was said of it, by the names that configuration uses.
        next_at: The next instant; None if there is none, or it does not fire.
        paused_because: Why it is paused, if no operator did it.
        error: Why it cannot be made, or why its last tick failed.
        failures: Failed ticks in a row.
        last_tick_at: The last tick that was not quiet.
        owner: The id of the runner that ticks it.
    """

    name: str
    health: ScheduleHealth
    asset: str
    trigger: str
    text: str
    words: str
    timezone: str
    origin: str
    edited: tuple[str, ...]
    settings: JsonObject
    next_at: datetime | None = None
    paused_because: str | None = None
    error: str | None = None
    failures: int = 0
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at a glance.

    Attributes:
        store: The store's URL, without its password.
        runners: Those that are alive.
    """

    store: str
    runners: tuple[RunnerInfo, ...]
    sensors: tuple[SensorStatus, ...]
    schedules: tuple[ScheduleStatus, ...]
    materializations: Mapping[MaterializationState, int]


def sensor_statuses(
    declared: Mapping[str, SensorDeclaration], records: Mapping[str, SensorRecord]
) -> tuple[SensorStatus, ...]:
    """Bring together what is declared and what is stored, by name."""
    return tuple(
        sensor_status(name, declared.get(name), records.get(name))
        for name in sorted({*declared, *records})
    )


def sensor_status(
    name: str, declaration: SensorDeclaration | None, record: SensorRecord | None
) -> SensorStatus:
    """Say how one sensor stands."""
    health = _health(declaration, record)
    return SensorStatus(
        name,
        health,
        type=declaration.type if declaration else None,
        asset=declaration.asset if declaration else None,
        every=declaration.settings.every if declaration else None,
        where=declaration.where if declaration else "",
        failures=record.checkpoint.failures if record else 0,
        not_before=record.checkpoint.not_before if record else None,
        last_tick_at=record.last_tick_at if record else None,
        last_outcome=record.last_outcome if record else None,
        last_error=record.last_error if record else None,
        owner=record.owner if record else None,
        stale_since=record.stale_since if record else None,
    )


def _health(declaration: SensorDeclaration | None, record: SensorRecord | None) -> SensorHealth:
    if declaration is None:
        return SensorHealth.UNDECLARED
    if not declaration.settings.enabled:
        return SensorHealth.DISABLED
    if record is None:
        return SensorHealth.NEW
    if record.paused:
        return SensorHealth.PAUSED
    if record.checkpoint.broken:
        return SensorHealth.BROKEN
    if record.checkpoint.failures >= declaration.settings.quarantine_after:
        return SensorHealth.QUARANTINED
    if record.stale_since is not None:
        return SensorHealth.STALE
    if record.checkpoint.failures:
        return SensorHealth.FAILING
    return SensorHealth.OK if record.checkpoint.polled else SensorHealth.NEW


def schedule_status(
    record: ScheduleRecord,
    make: Callable[[ScheduleRecord], Schedule],
    *,
    declared: bool,
    now: datetime,
) -> ScheduleStatus:
    """Say how one schedule stands.

    Args:
        make: Makes the schedule of its record; may raise.
        declared: Whether it is declared, or needs no declaration.
        now: From when on the next instant is looked for.
    """
    given = record.spec
    deadline = TimeLimit()
    look = partial(_look_ahead, record, make, now)
    # Ours come back, and to begin a thread costs more than they do.
    found = look() if given.get("trigger") in BUILT_IN else deadline.call(look)
    words, following, wrong = found or (str(given.get("text")), None, deadline.passed)
    health = _schedule_health(record, following, wrong, declared=declared)
    fires = health in {ScheduleHealth.OK, ScheduleHealth.FAILING}
    kind, text = str(given.get("trigger")), str(given.get("text"))
    settings = {key: value for key, value in given.items() if key not in {"trigger", "text"}}
    edited = () if record.declared is None else sorted((record.edits or {}).keys() - {"text"})
    return ScheduleStatus(
        record.name,
        health,
        record.asset,
        kind,
        text,
        words,
        str(given.get("timezone", "UTC")),
        record.origin,
        tuple(kind if key == "trigger" else key for key in edited),
        {kind: text, **settings},
        next_at=following if fires else None,
        paused_because=record.paused_because,
        error=wrong or record.last_error,
        failures=record.checkpoint.failures,
        last_tick_at=record.last_tick_at,
        last_outcome=record.last_outcome,
        owner=record.owner,
    )


def _look_ahead(
    record: ScheduleRecord, make: Callable[[ScheduleRecord], Schedule], now: datetime
) -> tuple[str, datetime | None, str | None]:
    """Return a schedule's words, its next instant, and what is wrong with its trigger."""
    words = str(record.spec.get("text"))
    try:
        schedule = make(record)
        words = printable(str(schedule.trigger.describe()), WORDS_LIMIT)
        return words, schedule.next_instant(max(now, record.checkpoint.decided_until)), None
    except BaseException as error:  # noqa: BLE001 - a plugin's trigger may raise anything
        return words, None, describe(error)


def _schedule_health(
    record: ScheduleRecord, following: datetime | None, wrong: str | None, *, declared: bool
) -> ScheduleHealth:
    if not declared:
        return ScheduleHealth.UNDECLARED
    if not record.spec.get("enabled", True):
        return ScheduleHealth.DISABLED
    if record.paused:
        return ScheduleHealth.PAUSED
    if wrong is not None:
        return ScheduleHealth.BROKEN
    if record.checkpoint.failures:
        return ScheduleHealth.FAILING
    return ScheduleHealth.ENDED if following is None else ScheduleHealth.OK
