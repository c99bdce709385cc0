"""Why something is as it is, in sentences: from the store's own records, and the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flowstone_core.app.status import ScheduleHealth, ScheduleStatus, SensorHealth, SensorStatus
from flowstone_core.errors import ValidationError
from flowstone_core.model.duration import format_duration
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Attempt, Materialization, MaterializationState
from flowstone_core.model.partition import decode_partition, format_partition
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import Tick, TickOutcome
from flowstone_core.scheduling.upcoming import Fire
from flowstone_core.store import StoredSkip

_SENSOR_HEALTH = {
    SensorHealth.DISABLED: "It is disabled where it is declared: it is not polled.",
    SensorHealth.PAUSED: "An operator paused it: 'flowstone sensors resume {name}' goes on.",
    SensorHealth.BROKEN: "It said that no retry helps, and waits for "
    "'flowstone sensors reset {name}'.",
    SensorHealth.NEW: "No poll of it has succeeded yet.",
    SensorHealth.UNDECLARED: "It is declared nowhere any more: it is not polled.",
    SensorHealth.OK: "Its last poll succeeded.",
}
_SCHEDULE_HEALTH = {
    ScheduleHealth.UNDECLARED: "It is declared nowhere any more: it does not fire.",
    ScheduleHealth.DISABLED: "It is disabled by its setting: it does not fire.",
    ScheduleHealth.BROKEN: "It cannot be made here, so it does not fire.",
    ScheduleHealth.FAILING: "Its last tick failed; it is tried again.",
    ScheduleHealth.ENDED: "Nothing is to come.",
    ScheduleHealth.OK: "It fires as it should.",
}
_POLLED = {
    SensorHealth.OK,
    SensorHealth.NEW,
    SensorHealth.FAILING,
    SensorHealth.STALE,
    SensorHealth.QUARANTINED,
}
_HOW_LATE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one thing is as it is.

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
    """Say how a sensor does and why, what it found last, and when it is polled next.

    Args:
        ticks: Its last ones that were not quiet, the newest first.
        events: Its last ones, the newest first.
        runners: Those that are alive.
    """
    return Explanation(
        f"sensor {status.name}", tuple(_sensor(status, declaration, ticks, events, runners, now))
    )


def explain_schedule(
    status: ScheduleStatus,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    skips: Sequence[StoredSkip],
    fires: Sequence[Fire],
    runners: Sequence[RunnerInfo],
) -> Explanation:
    """Say how a schedule does and why, what it fired for and skipped last, and when it is next.

    Args:
        ticks: Its last ones that were not quiet, the newest first.
        events: Its last ones, the newest first.
        skips: What it skipped last, the newest first.
        fires: Its next instants.
        runners: Those that are alive.
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
    """Say who asked for a materialization, how it stands and why, and what comes next.

    Args:
        attempts: All of them, in order.
        events: Those that asked for it, the oldest first.
        runners: Those that are alive.
    """
    subject = f"materialization {found.id}: {found.asset} {_shown(found.partition)}"
    return Explanation(subject, tuple(_materialization(found, attempts, events, runners, now)))


def _sensor(
    status: SensorStatus,
    declaration: SensorDeclaration | None,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Iterator[str]:
    failed = f"It has failed {_times(status.failures)} in a row"
    if status.health is SensorHealth.QUARANTINED:
        limit = declaration.settings.quarantine_after if declaration else status.failures
        yield f"{failed}, {limit} or more: it is quarantined, and tried once an hour."
    elif status.health is SensorHealth.FAILING:
        yield f"{failed}, and backs off."
    elif status.health is SensorHealth.STALE:
        yield f"It is stale: it has had no good poll since {_at(status.stale_since)}."
        if status.failures:
            yield f"{failed}, and backs off."
    else:
        yield _SENSOR_HEALTH[status.health].format(name=status.name)
    if status.last_error and status.health is not SensorHealth.OK:
        yield f"Its last error, at {_at(status.last_tick_at)}: {status.last_error}"
    yield from _polled_by(status, runners, now)
    for tick in ticks[:1]:
        yield f"Its last tick that was not quiet, at {_at(tick.started_at)}: {_tick(tick)}."
    duplicates = [tick for tick in ticks if tick.duplicates]
    if duplicates:
        total = sum(tick.duplicates for tick in duplicates)
        yield (
            f"In its last {len(ticks)} such ticks it found {total} again that it had fired for "
            f"(last at {_at(duplicates[0].started_at)}): they were suppressed by their keys. "
            "'flowstone sensors reset --forget-keys' would let them fire once more."
        )
    for event in events[:1]:
        yield f"It fired last at {_at(event.created_at)}: {_event(event)}."
    if not events:
        yield "It has never fired."


def _polled_by(status: SensorStatus, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if status.health not in _POLLED:
        return
    yield _owner(status.owner, runners, "polls")
    if status.not_before is not None and status.not_before > now:
        left = _whole(status.not_before - now)
        yield f"It is polled next at {_at(status.not_before)}, in {left}."
    elif status.every is not None:
        yield f"It is polled every {format_duration(status.every)}."


def _schedule(
    status: ScheduleStatus,
    ticks: Sequence[Tick],
    events: Sequence[StoredEvent],
    skips: Sequence[StoredSkip],
    fires: Sequence[Fire],
    runners: Sequence[RunnerInfo],
) -> Iterator[str]:
    if status.health is ScheduleHealth.PAUSED:
        why = status.paused_because or "an operator paused it"
        yield f"It is paused: {why}. 'flowstone schedules resume {status.name}' goes on."
    else:
        yield _SCHEDULE_HEALTH[status.health]
    if status.error:
        yield f"Its error: {status.error}"
    yield f"It is for {status.asset}: {status.words} ({status.timezone})."
    if status.health in {ScheduleHealth.OK, ScheduleHealth.FAILING}:
        yield _owner(status.owner, runners, "fires")
    for tick in ticks[:1]:
        yield f"Its last tick that was not quiet, at {_at(tick.started_at)}: {_tick(tick)}."
    for event in events[:1]:
        yield f"It fired last at {_at(event.created_at)}: {_event(event)}."
    for each in skips[:3]:
        yield _skip(each)
    for fire in fires:
        shift = f" ({fire.shift})" if fire.shift else ""
        yield f"It fires next at {fire.at}, for {_shown(fire.partition)}{shift}."


def _materialization(
    found: Materialization,
    attempts: Sequence[Attempt],
    events: Sequence[StoredEvent],
    runners: Sequence[RunnerInfo],
    now: datetime,
) -> Iterator[str]:
    match found.state:
        case MaterializationState.COMPLETED:
            yield f"It completed at {_at(found.finished_at)}, in attempt {found.attempt}."
        case MaterializationState.DISCARDED | MaterializationState.CANCELLED:
            yield (
                f"It was {found.state} at {_at(found.finished_at)}, after {found.attempt} of "
                f"{found.max_attempts} attempts: 'flowstone materializations retry {found.id}' "
                "has it made after all."
            )
        case MaterializationState.RUNNING:
            yield f"Attempt {found.attempt} of {found.max_attempts} runs."
        case MaterializationState.PENDING | MaterializationState.RETRYING:
            yield from _waiting(found, runners, now)
    if found.error:
        yield f"Its last error: {found.error}"
    for event in events[:3]:
        yield f"It was asked for at {_at(event.created_at)} by {event.source}, key {event.key}."
    if len(events) > 3:
        yield f"{len(events) - 3} more events joined it before it started."
    for attempt in attempts:
        end = f"{attempt.outcome} at {_at(attempt.finished_at)}" if attempt.outcome else "not ended"
        error = f": {attempt.error}" if attempt.error else ""
        yield f"Attempt {attempt.number}, begun at {_at(attempt.started_at)}: {end}{error}"


def _waiting(found: Materialization, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if found.waiting_for:
        yield f"It is not started yet: it waits for {found.waiting_for}."
    elif found.available_at is not None and found.available_at > now:
        which = f"Attempt {found.attempt + 1} of {found.max_attempts}"
        yield f"{which} starts at {_at(found.available_at)}."
    elif not runners:
        yield "It may start, but no runner is alive: start one by 'flowstone run'."
    else:
        late = now - (found.available_at or found.requested_at)
        waits = f", and has waited {_whole(late)}" if late > _HOW_LATE else ""
        yield f"It may start as soon as a worker is free{waits}."


def _owner(owner: str | None, runners: Sequence[RunnerInfo], does: str) -> str:
    if not runners:
        return f"No runner is alive, so nobody {does} it: start one by 'flowstone run'."
    for runner in runners:
        if runner.id == owner:
            return f"The runner on {runner.host}, process {runner.pid}, {does} it."
    if owner is None:
        return f"No runner {does} it yet: one claims it within seconds, if it is declared there."
    return "Its runner is not heard of any more: another takes it over when the lease has ended."


def _tick(tick: Tick) -> str:
    if tick.outcome is TickOutcome.BASELINE:
        return "it was the first poll, and recorded what was there (first_poll = baseline)"
    error = f": {tick.error}" if tick.error else ""
    return f"{tick.outcome}, {tick.events} events, {tick.duplicates} suppressed{error}"


def _event(event: StoredEvent) -> str:
    made = f", materialization {event.materialization_id}" if event.materialization_id else ""
    return f"{event.asset} {_shown(event.partition)}, key {event.key}{made}"


def _skip(stored: StoredSkip) -> str:
    skip = stored.skip
    at_least = "" if skip.complete else "at least "
    when = (
        f"{_at(skip.first)}"
        if skip.first == skip.last
        else f"{_at(skip.first)} to {_at(skip.last)}"
    )
    return f"It skipped {at_least}{_instants(skip.count)}, {when}: {skip.reason}."


def _whole(duration: timedelta) -> str:
    return format_duration(timedelta(seconds=round(duration.total_seconds())))


def _instants(count: int) -> str:
    return "one instant" if count == 1 else f"{count} instants"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _at(moment: datetime | None) -> str:
    return "no time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _shown(partition: str) -> str:
    try:
        return format_partition(decode_partition(partition))
    except ValidationError:  # pragma: no cover - by an older version; shown as it is stored
        return partition
