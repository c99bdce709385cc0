"""Sensor sentences: the state of a sensor in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from flowstone_core.app.phrases import (
    Explanation,
    at,
    counted,
    event_in_words,
    not_loaded_in_words,
    owned_by,
    tick_in_words,
    whole_seconds,
)
from flowstone_core.app.status import SensorHealth, SensorStatus
from flowstone_core.model.duration import format_duration
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import Skipped, StoredEvent
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import Tick

_SENSOR_HEALTH = {
    SensorHealth.DISABLED: "The sensor is disabled by its declaration: no runner polls it.",
    SensorHealth.PAUSED: "An operator paused the sensor (to resume: "
    "flowstone sensors resume {name}).",
    SensorHealth.BROKEN: "The sensor reported that retries do not help (to poll again: "
    "flowstone sensors reset {name}).",
    SensorHealth.NEW: "No poll has succeeded yet.",
    SensorHealth.UNDECLARED: "The sensor is no longer declared: no runner polls it.",
    SensorHealth.OK: "The last poll succeeded.",
    SensorHealth.BLOCKED: "Every thread of its runner hangs in a call that does not return: "
    "nothing is polled until the runner is started again.",
}
_POLLED = {
    SensorHealth.OK,
    SensorHealth.NEW,
    SensorHealth.FAILING,
    SensorHealth.STALE,
    SensorHealth.QUARANTINED,
}


def explain_sensor(
    status: SensorStatus,
    declaration: SensorDeclaration | None,
    ticks: Sequence[Tick],
    skipping: Sequence[Tick],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Explanation:
    """Explain the health of a sensor, its last tick and event, and its next poll.

    Args:
        status: The sensor.
        declaration: Its declaration, if it is declared.
        ticks: Its last ticks that were not quiet, newest first.
        skipping: The last of them in which it skipped items for good, newest first.
        events: Its last events, newest first.
        runners: The live runners.
        now: The current time.
    """
    facts = (
        *_health(status, declaration),
        *_polled_by(status, runners, now),
        *_history(status, ticks, skipping, events),
    )
    return Explanation(f"sensor {status.name}", facts)


def _health(status: SensorStatus, declaration: SensorDeclaration | None) -> Iterator[str]:
    if status.not_loaded:
        yield not_loaded_in_words(status.not_loaded)
    failed = f"{counted(status.failures, 'failed poll')} in a row"
    if status.health is SensorHealth.QUARANTINED:
        limit = declaration.settings.quarantine_after if declaration else status.failures
        yield f"{failed} ({limit} or more): the sensor is quarantined and polled once an hour."
    elif status.health is SensorHealth.FAILING:
        yield f"{failed}: the sensor backs off."
    elif status.health is SensorHealth.STALE:
        yield f"The sensor is stale: no poll has succeeded since {at(status.stale_since)}."
        if status.failures:
            yield f"{failed}: the sensor backs off."
    elif status.health is SensorHealth.UNDECLARED and status.not_loaded:
        yield "The sensor is no longer declared: its runner polls it until the runner ends."
    else:
        yield _SENSOR_HEALTH[status.health].format(name=status.name)
    if status.last_error and status.health is not SensorHealth.OK:
        yield f"Last error, at {at(status.last_tick_at)}: {status.last_error}"


def _history(
    status: SensorStatus,
    ticks: Sequence[Tick],
    skipping: Sequence[Tick],
    events: Sequence[StoredEvent],
) -> Iterator[str]:
    if status.quiet_reason:
        yield f"Its polls find nothing, since {at(status.quiet_since)}: {status.quiet_reason}."
    for tick in ticks[:1]:
        yield f"Last recorded tick, at {at(tick.started_at)}: {tick_in_words(tick)}."
    for tick in skipping:
        for item in tick.skipped_items:
            yield f"Skipped for good, at {at(tick.started_at)}: {_skipped(item)}."
    duplicates = [tick for tick in ticks if tick.duplicates]
    if duplicates:
        total = sum(tick.duplicates for tick in duplicates)
        yield (
            f"Suppressed by their keys: {counted(total, 'event')} in "
            f"{counted(len(duplicates), 'tick')}, the last at "
            f"{at(duplicates[0].started_at)} (to fire them again: "
            "flowstone sensors reset --forget-keys)."
        )
    for event in events[:1]:
        yield f"Last event, at {at(event.created_at)}: {event_in_words(event)}."
    if not events:
        yield "No events yet."


def _polled_by(status: SensorStatus, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if status.health not in _POLLED:
        return
    yield owned_by(status.owner, runners, "polls")
    if status.not_before is not None and status.not_before > now:
        left = whole_seconds(status.not_before - now)
        yield f"Next poll at {at(status.not_before)}, in {left}."
    elif status.every is not None:
        yield f"Polled every {format_duration(status.every)}."


def _skipped(item: Skipped) -> str:
    example = f", such as {item.example}" if item.example else ""
    return f"{counted(item.count, 'item')}{example}: {item.reason}"
