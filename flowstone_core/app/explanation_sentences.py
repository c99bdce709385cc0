"""Explanation sentences: the state of a sensor, a schedule or a materialization in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flowstone_core.app.status import ScheduleHealth, ScheduleStatus, SensorHealth, SensorStatus
from flowstone_core.model.duration import format_duration
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Attempt, Materialization, MaterializationState
from flowstone_core.model.partition import show_partition
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import Tick, TickOutcome
from flowstone_core.scheduling.upcoming import UpcomingFire
from flowstone_core.store import StoredSkip

_SENSOR_HEALTH = {
    SensorHealth.DISABLED: "The sensor is disabled by its declaration: no runner polls it.",
    SensorHealth.PAUSED: "An operator paused the sensor (to resume: "
    "flowstone sensors resume {name}).",
    SensorHealth.BROKEN: "The sensor reported that retries do not help (to poll again: "
    "flowstone sensors reset {name}).",
    SensorHealth.NEW: "No poll has succeeded yet.",
    SensorHealth.UNDECLARED: "The sensor is no longer declared: no runner polls it.",
    SensorHealth.OK: "The last poll succeeded.",
}
_SCHEDULE_HEALTH = {
    ScheduleHealth.UNDECLARED: "The schedule is no longer declared: it does not fire.",
    ScheduleHealth.DISABLED: "The schedule is disabled by its setting: it does not fire.",
    ScheduleHealth.BROKEN: "This process cannot build the schedule: it does not fire.",
    ScheduleHealth.FAILING: "The last tick failed; the next one tries again.",
    ScheduleHealth.ENDED: "The schedule has ended: no instants follow.",
    ScheduleHealth.OK: "The schedule fires.",
}
_POLLED = {
    SensorHealth.OK,
    SensorHealth.NEW,
    SensorHealth.FAILING,
    SensorHealth.STALE,
    SensorHealth.QUARANTINED,
}
_LATE = timedelta(seconds=5)
"""Wait after which a materialization that may start counts as late."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of the state of one thing.

    Attributes:
        subject: Such as ``sensor new_orders``.
        facts: Sentences, the most important first.
    """

    subject: str
    facts: tuple[str, ...]


def explain_sensor(
    status: SensorStatus,
    declaration: SensorDeclaration | None,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Explanation:
    """Explain the health of a sensor, its last tick and event, and its next poll.

    Args:
        status: The sensor.
        declaration: Its declaration, if it is declared.
        ticks: Its last ticks that were not quiet, newest first.
        events: Its last events, newest first.
        runners: The live runners.
        now: The current time.
    """
    return Explanation(
        f"sensor {status.name}", tuple(_sensor(status, declaration, ticks, events, runners, now))
    )


def explain_schedule(
    status: ScheduleStatus,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    skips: Sequence[StoredSkip],
    fires: Sequence[UpcomingFire],
    runners: Sequence[RunnerInfo],
) -> Explanation:
    """Explain the health of a schedule, its last tick, event and skips, and its next instants.

    Args:
        status: The schedule.
        ticks: Its last ticks that were not quiet, newest first.
        events: Its last events, newest first.
        skips: Its last skips, newest first.
        fires: Its next instants.
        runners: The live runners.
    """
    return Explanation(
        f"schedule {status.name}", tuple(_schedule(status, ticks, events, skips, fires, runners))
    )


def explain_materialization(
    found: Materialization,
    attempts: Sequence[Attempt],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Explanation:
    """Explain the state of a materialization, the events that requested it, and its attempts.

    Args:
        found: The materialization.
        attempts: All its attempts, in order.
        events: The events that requested it, oldest first.
        runners: The live runners.
        now: The current time.
    """
    subject = f"materialization {found.id}: {found.asset} {show_partition(found.partition)}"
    return Explanation(subject, tuple(_materialization(found, attempts, events, runners, now)))


def _sensor(
    status: SensorStatus,
    declaration: SensorDeclaration | None,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Iterator[str]:
    failed = f"{_counted(status.failures, 'failed poll')} in a row"
    if status.health is SensorHealth.QUARANTINED:
        limit = declaration.settings.quarantine_after if declaration else status.failures
        yield f"{failed} ({limit} or more): the sensor is quarantined and polled once an hour."
    elif status.health is SensorHealth.FAILING:
        yield f"{failed}: the sensor backs off."
    elif status.health is SensorHealth.STALE:
        yield f"The sensor is stale: no poll has succeeded since {_at(status.stale_since)}."
        if status.failures:
            yield f"{failed}: the sensor backs off."
    else:
        yield _SENSOR_HEALTH[status.health].format(name=status.name)
    if status.last_error and status.health is not SensorHealth.OK:
        yield f"Last error, at {_at(status.last_tick_at)}: {status.last_error}"
    yield from _polled_by(status, runners, now)
    for tick in ticks[:1]:
        yield f"Last tick that was not quiet, at {_at(tick.started_at)}: {_tick(tick)}."
    duplicates = [tick for tick in ticks if tick.duplicates]
    if duplicates:
        total = sum(tick.duplicates for tick in duplicates)
        yield (
            f"Suppressed by their keys: {_counted(total, 'event')} in "
            f"{_counted(len(duplicates), 'tick')}, the last at "
            f"{_at(duplicates[0].started_at)} (to fire them again: "
            "flowstone sensors reset --forget-keys)."
        )
    for event in events[:1]:
        yield f"Last event, at {_at(event.created_at)}: {_event(event)}."
    if not events:
        yield "No events yet."


def _polled_by(status: SensorStatus, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if status.health not in _POLLED:
        return
    yield _owner(status.owner, runners, "polls")
    if status.not_before is not None and status.not_before > now:
        left = _whole(status.not_before - now)
        yield f"Next poll at {_at(status.not_before)}, in {left}."
    elif status.every is not None:
        yield f"Polled every {format_duration(status.every)}."


def _schedule(
    status: ScheduleStatus,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    skips: Sequence[StoredSkip],
    fires: Sequence[UpcomingFire],
    runners: Sequence[RunnerInfo],
) -> Iterator[str]:
    if status.health is ScheduleHealth.PAUSED:
        why = f": {status.paused_because}" if status.paused_because else " by an operator"
        resume = f"flowstone schedules resume {status.name}"
        yield f"The schedule is paused{why} (to resume: {resume})."
    else:
        yield _SCHEDULE_HEALTH[status.health]
    if status.error:
        yield f"Error: {status.error}"
    yield f"Requests {status.asset}: {status.words} ({status.timezone})."
    if status.health in {ScheduleHealth.OK, ScheduleHealth.FAILING}:
        yield _owner(status.owner, runners, "fires")
    for tick in ticks[:1]:
        yield f"Last tick that was not quiet, at {_at(tick.started_at)}: {_tick(tick)}."
    for event in events[:1]:
        yield f"Last event, at {_at(event.created_at)}: {_event(event)}."
    for each in skips[:3]:
        yield _skip(each)
    for fire in fires:
        shift = f" ({fire.shift})" if fire.shift else ""
        yield f"Next instant: {fire.at}, partition {show_partition(fire.partition)}{shift}."


def _materialization(
    found: Materialization,
    attempts: Sequence[Attempt],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Iterator[str]:
    match found.state:
        case MaterializationState.COMPLETED:
            yield f"Completed at {_at(found.finished_at)}, in attempt {found.attempt}."
        case MaterializationState.DISCARDED | MaterializationState.CANCELLED:
            yield (
                f"{found.state.capitalize()} at {_at(found.finished_at)}, after {found.attempt} of "
                f"{found.max_attempts} attempts (to run it again: "
                f"flowstone materializations retry {found.id})."
            )
        case MaterializationState.RUNNING:
            yield f"Attempt {found.attempt} of {found.max_attempts} is running."
        case MaterializationState.PENDING | MaterializationState.RETRYING:
            yield from _waiting(found, runners, now)
    if found.error:
        yield f"Last error: {found.error}"
    for event in events[:3]:
        yield f"Requested at {_at(event.created_at)} by {event.source}, key {event.key}."
    if len(events) > 3:
        yield f"{len(events) - 3} more events joined before the start."
    for attempt in attempts:
        end = f"{attempt.outcome} at {_at(attempt.finished_at)}" if attempt.outcome else "not ended"
        error = f": {attempt.error}" if attempt.error else ""
        yield f"Attempt {attempt.number}, started at {_at(attempt.started_at)}: {end}{error}"


def _waiting(found: Materialization, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if found.waiting_for:
        yield f"Not started yet: waiting for {found.waiting_for}."
    elif found.available_at is not None and found.available_at > now:
        which = f"Attempt {found.attempt + 1} of {found.max_attempts}"
        yield f"{which} starts at {_at(found.available_at)}."
    elif not runners:
        yield "Ready, but no runner is alive (to start one: flowstone run)."
    else:
        late = now - (found.available_at or found.requested_at)
        waited = f" for {_whole(late)}" if late > _LATE else ""
        yield f"Ready: waiting{waited} for a free thread of a runner."


def _owner(owner: str | None, runners: Sequence[RunnerInfo], does: str) -> str:
    if not runners:
        return f"No runner is alive, so none {does} it (to start one: flowstone run)."
    for runner in runners:
        if runner.id == owner:
            return f"Runner {runner.host}, process {runner.pid}, {does} it."
    if owner is None:
        return f"No runner {does} it yet; one that declares it claims it within seconds."
    return "Its runner has stopped renewing its lease; another runner takes over when it expires."


def _tick(tick: Tick) -> str:
    if tick.outcome is TickOutcome.BASELINE:
        return "first poll, recorded as baseline (first_poll = baseline)"
    error = f": {tick.error}" if tick.error else ""
    events = _counted(tick.events, "event")
    return f"{tick.outcome}, {events}, {tick.duplicates} suppressed{error}"


def _event(event: StoredEvent) -> str:
    number = event.materialization_id
    requested = f", materialization {number}" if number else ""
    return f"{event.asset} {show_partition(event.partition)}, key {event.key}{requested}"


def _skip(stored: StoredSkip) -> str:
    skip = stored.skip
    at_least = "" if skip.complete else "at least "
    when = (
        f"{_at(skip.first)}"
        if skip.first == skip.last
        else f"{_at(skip.first)} to {_at(skip.last)}"
    )
    return f"Skipped {at_least}{_counted(skip.count, 'instant')}, {when}: {skip.reason}."


def _whole(duration: timedelta) -> str:
    return format_duration(timedelta(seconds=round(duration.total_seconds())))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _at(moment: datetime | None) -> str:
    return "no time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
