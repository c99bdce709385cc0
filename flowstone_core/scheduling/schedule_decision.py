"""Decision of a schedule's tick: what the tick commits, from an observation and a checkpoint."""

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

MAX_SLEEP = timedelta(hours=1)
"""Maximum time between two ticks: the wall clock may drift from the monotonic clock."""

QUARANTINE_AFTER = 10
"""Consecutive failed ticks after which a schedule is evaluated once an hour only."""


@dataclass(frozen=True, slots=True)
class ScheduleObservation:
    """Observation of a schedule: the input of `decide_firing`.

    Attributes:
        due: The due instants, or the exception that their computation raised.
        partitions: The encoded partitions of the due instants.
        active: Number of unfinished materializations of the schedule; 2 stands for more.
    """

    due: Due | BaseException
    started_at: datetime
    finished_at: datetime
    partitions: tuple[str, ...] = ()
    active: int = 0


def decide_firing(
    schedule: Schedule,
    checkpoint: ScheduleCheckpoint,
    observation: ScheduleObservation,
    backoff: Callable[[int], timedelta],
    redact: Callable[[str], str] = str,
) -> Decision[ScheduleCommit]:
    """Decide what a schedule's tick commits. Pure: no clock; never raises.

    Args:
        schedule: The schedule.
        checkpoint: The checkpoint when the tick began.
        observation: The due instants, or the exception.
        backoff: Returns the delay before the next tick, from the number of consecutive failures.
        redact: Hides secrets in error texts.
    """
    if isinstance(observation.due, BaseException):
        return decide_failure(schedule.name, checkpoint, observation, backoff, redact)
    due = observation.due
    events, overlapping = _apply_overlap(schedule, due, observation.partitions, observation.active)
    skips = (*due.skips, *overlapping)
    next_at = due.next_at
    if next_at is not None:
        next_at = min(next_at, observation.finished_at + MAX_SLEEP)
    if due.decided_until == checkpoint.decided_until and not checkpoint.failures:
        return Decision(TickOutcome.NOT_TRIGGERED, next_at=next_at)
    outcome = TickOutcome.NOT_TRIGGERED
    if events or skips:
        outcome = TickOutcome.TRIGGERED if events else TickOutcome.SKIPPED
    commit = ScheduleCommit(
        schedule.name,
        outcome,
        observation.started_at,
        observation.finished_at,
        checkpoint,
        ScheduleCheckpoint(due.decided_until, checkpoint.version + 1),
        events,
        skips=skips,
    )
    return Decision(outcome, (commit,), next_at=next_at)


def decide_failure(
    name: str,
    checkpoint: ScheduleCheckpoint,
    observation: ScheduleObservation,
    backoff: Callable[[int], timedelta],
    redact: Callable[[str], str] = str,
) -> Decision[ScheduleCommit]:
    """Decide what a failed observation commits; due instants stay due."""
    error = observation.due
    assert isinstance(error, BaseException)  # noqa: S101 - for the type checker
    failures = checkpoint.failures + 1
    delay = QUARANTINE_INTERVAL if failures >= QUARANTINE_AFTER else backoff(failures)
    late = isinstance(error, PollTimeoutError)
    outcome = TickOutcome.TIMED_OUT if late else TickOutcome.FAILED
    text = describe(error, redact)
    next_at = observation.finished_at + delay
    after = replace(
        checkpoint, version=checkpoint.version + 1, failures=failures, not_before=next_at
    )
    commit = ScheduleCommit(
        name,
        outcome,
        observation.started_at,
        observation.finished_at,
        checkpoint,
        after,
        error=text,
    )
    return Decision(outcome, (commit,), error=text, next_at=next_at)


def instant_text(instant: datetime) -> str:
    """Write an instant as the key of its event: ISO 8601 in UTC.

    Example:
        >>> instant_text(datetime(2026, 1, 31, 2, tzinfo=UTC))
        '2026-01-31T02:00:00Z'
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _apply_overlap(
    schedule: Schedule, due: Due, partitions: Sequence[str], active: int
) -> tuple[tuple[NewEvent, ...], tuple[Skip, ...]]:
    """Return the events for the due instants, or skip the instants because of ``overlap``.

    Caught-up instants are never skipped for overlap: they wait in line.
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
        sequential = overlap is not Overlap.ALLOW
        events.append(NewEvent(key, schedule.asset, partition, payload, sequential))
    return tuple(events), ()
