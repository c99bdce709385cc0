"""Status of sensors and schedules: declaration and stored record in one view, with a health."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.safe_text import describe, printable
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import TickOutcome
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.scheduling.builtin_triggers import BUILT_IN
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import ScheduleRecord, SensorRecord

WORDS_LIMIT = 500
"""Most characters of a trigger's description."""


class SensorHealth(StrEnum):
    """Health of a sensor: the first value that applies."""

    DISABLED = "disabled"
    """Disabled by its declaration."""
    PAUSED = "paused"
    """Paused by an operator."""
    BROKEN = "broken"
    """The sensor reported that retries do not help; waits for a reset."""
    QUARANTINED = "quarantined"
    """Failed ``quarantine_after`` times in a row; polled once an hour."""
    STALE = "stale"
    """No successful poll for its ``stale_after``."""
    FAILING = "failing"
    NEW = "new"
    """No successful poll yet."""
    UNDECLARED = "undeclared"
    """Stored, but no longer declared."""
    BLOCKED = "blocked"
    """Every thread of its runner hangs: nothing is polled."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor: its declaration and its stored record.

    Attributes:
        type: Its type in the configuration; None if the sensor is no longer declared.
        failures: Failed ticks in a row.
        not_before: The earliest next poll, if the sensor backs off.
        last_tick_at: The last tick that was not quiet.
        owner: The id of the runner that ticks it.
        stale_since: The end of the last successful poll, or the start of the runner, if the
            sensor is stale.
        quiet_reason: The reason why its polls find nothing, if the sensor gave one.
        quiet_since: When that reason was recorded.
        not_loaded: Its changes on disk that its runner has not loaded.
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
    quiet_reason: str | None = None
    quiet_since: datetime | None = None
    not_loaded: tuple[str, ...] = ()


class ScheduleHealth(StrEnum):
    """Health of a schedule: the first value that applies."""

    UNDECLARED = "undeclared"
    """Stored with a declaration that no longer exists."""
    DISABLED = "disabled"
    """Disabled by its setting."""
    PAUSED = "paused"
    """Paused by an operator, or by a failure."""
    BROKEN = "broken"
    """This process cannot build it, for example because its trigger is not installed."""
    FAILING = "failing"
    """Its trigger or its ``partition_fn`` failed."""
    ENDED = "ended"
    """No instants follow."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """One schedule: its declaration and its stored record.

    Attributes:
        trigger: The name of its trigger in the configuration.
        text: The text of the trigger.
        words: The trigger in words.
        origin: ``file:line`` of its declaration, or ``command``.
        edited: The settings that were changed at run time; they override the declaration.
        settings: All its settings, by their names in the configuration.
        next_at: The next instant; None if none follows, or the schedule does not fire.
        paused_because: The reason of a pause that no operator ordered.
        error: The reason why it cannot be built, or why its last tick failed.
        failures: Failed ticks in a row.
        last_tick_at: The last tick that was not quiet.
        owner: The id of the runner that ticks it.
        not_loaded: Its changes on disk that no runner has loaded.
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
    not_loaded: tuple[str, ...] = ()


def sensor_status(
    name: str, declaration: SensorDeclaration | None, record: SensorRecord | None
) -> SensorStatus:
    """Return the status of one sensor."""
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
        quiet_reason=record.quiet_reason if record else None,
        quiet_since=record.quiet_since if record else None,
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
    """Return the status of one schedule.

    Args:
        record: Its stored record.
        make: Builds the schedule of its record; may raise.
        declared: True if it is declared, or was added at run time.
        now: The next instant is after this one.
    """
    given = record.spec
    deadline = TimeLimit()
    look = partial(_look_ahead, record, make, now)
    # Built-in triggers always return, and starting a thread costs more than calling them.
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
    """Return the words of a schedule, its next instant, and the error of its trigger."""
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
