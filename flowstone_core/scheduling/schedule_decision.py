"""What a schedule's tick amounts to: the pure decision between a look and its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.json_document import dump_document
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_decision import QUARANTINE_INTERVAL, Decision
from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCheckpoint,
    ScheduleCommit,
    Skip,
    SkipReason,
    TickOutcome,
)
from flowstone_core.scheduling.catchup import Due
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.settings import Overlap

LOOK_INTERVAL = timedelta(hours=1)
"""A schedule is looked at at least so often: the wall clock may drift from the monotonic one."""

QUARANTINE_AFTER = 10
"""Failed ticks in a row after which a schedule is tried once an hour."""


@dataclass(frozen=True, slots=True)
class ScheduleObservation:
    """What one look at a schedule found.

    Attributes:
        due: What is due, or what was raised on the way to it.
        partitions: The texts of the partitions of the instants that are due.
        active: How many materializations of the schedule's own have not ended; two stand for more.
    """

    due: Due | BaseException
    started_at: datetime
    finished_at: datetime
    partitions: tuple[str, ...] = ()
    active: int = 0


def decide_firing(
    schedule: Schedule,
    checkpoint: ScheduleCheckpoint,
    look: ScheduleObservation,
    backoff: Callable[[int], timedelta],
    redact: Callable[[str], str] = str,
) -> Decision[ScheduleCommit]:
    """Decide what a schedule's tick amounts to; reads no clock, and raises nothing.

    Args:
        memory: What was known when the tick began.
        look: What was found.
        backoff: From the number of failures in a row to the delay before the next look.
        redact: Hides secrets in error texts.
    """
    if isinstance(look.due, BaseException):
        return decide_failure(schedule.name, checkpoint, look, backoff, redact)
    due = look.due
    events, overlapping = _judge(schedule, due, look.partitions, look.active)
    skips = (*due.skips, *overlapping)
    next_at = due.next_at
    if next_at is not None:
        next_at = min(next_at, look.finished_at + LOOK_INTERVAL)
    if due.decided_until == checkpoint.decided_until and not checkpoint.failures:
        return Decision(TickOutcome.NOT_TRIGGERED, next_at=next_at)
    outcome = TickOutcome.NOT_TRIGGERED
    if events or skips:
        outcome = TickOutcome.TRIGGERED if events else TickOutcome.SKIPPED
    commit = ScheduleCommit(
        schedule.name,
        outcome,
        look.started_at,
        look.finished_at,
        checkpoint,
        ScheduleCheckpoint(due.decided_until, checkpoint.version + 1),
        events,
        skips=skips,
    )
    return Decision(outcome, (commit,), next_at=next_at)


def decide_failure(
    name: str,
    checkpoint: ScheduleCheckpoint,
    look: ScheduleObservation,
    backoff: Callable[[int], timedelta],
    redact: Callable[[str], str] = str,
) -> Decision[ScheduleCommit]:
    """Decide what it amounts to that the look raised; what is due stays due."""
    error = look.due
    assert isinstance(error, BaseException)  # noqa: S101 - for the type checker
    failures = checkpoint.failures + 1
    delay = QUARANTINE_INTERVAL if failures >= QUARANTINE_AFTER else backoff(failures)
    late = isinstance(error, PollTimeoutError)
    outcome = TickOutcome.TIMED_OUT if late else TickOutcome.FAILED
    text = describe(error, redact)
    next_at = look.finished_at + delay
    after = replace(
        checkpoint, version=checkpoint.version + 1, failures=failures, not_before=next_at
    )
    commit = ScheduleCommit(
        name, outcome, look.started_at, look.finished_at, checkpoint, after, error=text
    )
    return Decision(outcome, (commit,), error=text, next_at=next_at)


def instant_text(instant: datetime) -> str:
    """Write an instant as the key of its event: ISO 8601 in UTC.

    Example:
        >>> instant_text(datetime(2026, 1, 31, 2, tzinfo=UTC))
        '2026-01-31T02:00:00Z'
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _judge(
    schedule: Schedule, due: Due, partitions: Sequence[str], active: int
) -> tuple[tuple[NewEvent, ...], tuple[Skip, ...]]:
    """Judge what is due by what the schedule asked for before.

    What catch-up wants is never skipped for that: it was promised, so it waits in line.
    """
    overlap = schedule.settings.overlap
    limit = {Overlap.SKIP: 1, Overlap.BUFFER_ONE: 2}.get(overlap)
    if not due.caught_up and limit is not None and active >= limit:
        return (), tuple(Skip(SkipReason.OVERLAP, each, each) for each in due.instants)
    events = []
    for instant, partition in zip(due.instants, partitions, strict=True):
        key = instant_text(instant)
        payload = dump_document(
            {"schedule": schedule.name, "instant": key, "timezone": schedule.trigger.timezone},
            what="the payload",
            limit=10_000,
        )
        in_line = overlap is not Overlap.ALLOW
        events.append(NewEvent(key, schedule.asset, partition, payload, in_line))
    return tuple(events), ()
