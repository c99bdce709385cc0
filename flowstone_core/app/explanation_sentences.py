"""Explanation sentences: the state of a schedule or a materialization in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

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
from flowstone_core.app.status import ScheduleHealth, ScheduleStatus
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Attempt, Materialization, MaterializationState
from flowstone_core.model.partition import show_partition
from flowstone_core.model.tick import Tick
from flowstone_core.scheduling.upcoming import UpcomingFire
from flowstone_core.store import StoredSkip

_SCHEDULE_HEALTH = {
    ScheduleHealth.UNDECLARED: "The schedule is no longer declared: it does not fire.",
    ScheduleHealth.DISABLED: "The schedule is disabled by its setting: it does not fire.",
    ScheduleHealth.BROKEN: "This process cannot build the schedule: it does not fire.",
    ScheduleHealth.FAILING: "The last tick failed; the next one tries again.",
    ScheduleHealth.ENDED: "The schedule has ended: no instants follow.",
    ScheduleHealth.OK: "The schedule fires.",
}
_LATE = timedelta(seconds=5)
"""Wait after which a materialization that may start counts as late."""


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
    facts = (
        *_health(status, runners),
        *_history(ticks, events, skips),
        *map(_next_instant, fires),
    )
    return Explanation(f"schedule {status.name}", facts)


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
        runners: The live runners that run materializations.
        now: The current time.
    """
    subject = f"materialization {found.id}: {found.asset} {show_partition(found.partition)}"
    facts = (*_state(found, runners, now), *_requests(events), *map(_attempt, attempts))
    return Explanation(subject, facts)


def _health(status: ScheduleStatus, runners: Sequence[RunnerInfo]) -> Iterator[str]:
    if status.not_loaded:
        yield not_loaded_in_words(status.not_loaded)
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
        yield owned_by(status.owner, runners, "fires")


def _history(
    ticks: Sequence[Tick], events: Sequence[StoredEvent], skips: Sequence[StoredSkip]
) -> Iterator[str]:
    for tick in ticks[:1]:
        yield f"Last recorded tick, at {at(tick.started_at)}: {tick_in_words(tick)}."
    for event in events[:1]:
        yield f"Last event, at {at(event.created_at)}: {event_in_words(event)}."
    for each in skips[:3]:
        yield _skip(each)


def _next_instant(fire: UpcomingFire) -> str:
    shift = f" ({fire.shift})" if fire.shift else ""
    return f"Next instant: {fire.at}, partition {show_partition(fire.partition)}{shift}."


def _state(found: Materialization, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    match found.state:
        case MaterializationState.COMPLETED:
            yield f"Completed at {at(found.finished_at)}, in attempt {found.attempt}."
        case MaterializationState.DISCARDED | MaterializationState.CANCELLED:
            yield (
                f"{found.state.capitalize()} at {at(found.finished_at)}, after {found.attempt} of "
                f"{found.max_attempts} attempts (to run it again: "
                f"flowstone materializations retry {found.id})."
            )
        case MaterializationState.RUNNING:
            yield f"Attempt {found.attempt} of {found.max_attempts} is running."
        case MaterializationState.PENDING | MaterializationState.RETRYING:
            yield from _waiting(found, runners, now)
    if found.error:
        yield f"Last error: {found.error}"


def _requests(events: Sequence[StoredEvent]) -> Iterator[str]:
    for event in events[:3]:
        yield f"Requested at {at(event.created_at)} by {event.source}, key {event.key}."
    if len(events) > 3:
        yield f"{len(events) - 3} more events joined before the start."


def _attempt(attempt: Attempt) -> str:
    end = f"{attempt.outcome} at {at(attempt.finished_at)}" if attempt.outcome else "not ended"
    error = f": {attempt.error}" if attempt.error else ""
    return f"Attempt {attempt.number}, started at {at(attempt.started_at)}: {end}{error}"


def _waiting(found: Materialization, runners: Sequence[RunnerInfo], now: datetime) -> Iterator[str]:
    if found.waiting_for:
        yield f"Not started yet: waiting for {found.waiting_for}."
    elif found.available_at is not None and found.available_at > now:
        which = f"Attempt {found.attempt + 1} of {found.max_attempts}"
        yield f"{which} starts at {at(found.available_at)}."
    elif not runners:
        yield "Ready, but no runner is alive (to start one: flowstone run)."
    else:
        late = now - (found.available_at or found.requested_at)
        waited = f" for {whole_seconds(late)}" if late > _LATE else ""
        yield f"Ready: waiting{waited} for a free thread of a runner."


def _skip(stored: StoredSkip) -> str:
    skip = stored.skip
    at_least = "" if skip.complete else "at least "
    when = (
        f"{at(skip.first)}" if skip.first == skip.last else f"{at(skip.first)} to {at(skip.last)}"
    )
    return f"Skipped {at_least}{counted(skip.count, 'instant')}, {when}: {skip.reason}."
