"""Materialization: one run of an asset for one partition, with its attempts and its result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import JsonObject


class MaterializationState(StrEnum):
    """State of a materialization."""

    PENDING = "pending"
    """Requested and not started: further events for the same partition join it."""
    RUNNING = "running"
    """An attempt holds the current token."""
    RETRYING = "retrying"
    """Started before; waits for its next attempt."""
    COMPLETED = "completed"
    DISCARDED = "discarded"
    """All attempts failed, or the asset function raised `Discard`; the error is kept."""
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True if nothing more happens unless an operator retries it."""
        return self in _ENDED


_ENDED = frozenset(
    {
        MaterializationState.COMPLETED,
        MaterializationState.DISCARDED,
        MaterializationState.CANCELLED,
    }
)

LEGAL_MOVES: dict[MaterializationState, frozenset[MaterializationState]] = {
    MaterializationState.PENDING: frozenset(
        {
            MaterializationState.RUNNING,
            MaterializationState.DISCARDED,  # a dependency was discarded
            MaterializationState.CANCELLED,
        }
    ),
    MaterializationState.RUNNING: frozenset(
        {
            MaterializationState.COMPLETED,
            MaterializationState.RETRYING,
            MaterializationState.DISCARDED,
            MaterializationState.CANCELLED,
        }
    ),
    MaterializationState.RETRYING: frozenset(
        {
            MaterializationState.RUNNING,
            MaterializationState.DISCARDED,
            MaterializationState.CANCELLED,
        }
    ),
    MaterializationState.COMPLETED: frozenset(),
    MaterializationState.DISCARDED: frozenset({MaterializationState.PENDING}),  # by hand
    MaterializationState.CANCELLED: frozenset({MaterializationState.PENDING}),  # by hand
}
"""Allowed transitions from each state; the store makes no other."""


def predecessors(state: MaterializationState) -> tuple[MaterializationState, ...]:
    """Return the states from which a materialization may move to ``state``."""
    return tuple(origin for origin, targets in LEGAL_MOVES.items() if state in targets)


class AttemptOutcome(StrEnum):
    """Outcome of one attempt."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY_LATER = "retry_later"
    """The asset function raised `RetryLater`; no attempt is used up."""
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its runner died or lost its lease."""
    RELEASED = "released"
    """Its runner stopped before it ended; no attempt is used up."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a materialization; numbers begin at 1.

    Attributes:
        started_at: When it was claimed. Its function is called as soon as a thread is free, after
            at most some tenths of a second; the asset's timeout counts from there.
    """

    number: int
    started_at: datetime
    finished_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    error: str | None = None
    runner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Materialization:
    """A materialization as stored.

    Attributes:
        id: Ascending number, as commands take it.
        run_id: The same for all attempts and globally unique: the idempotency key.
        partition: The encoded partition; `decode_partition` returns its value.
        attempt: Number of attempts that have started.
        max_attempts: Maximum number of attempts.
        waiting_for: Why a pending materialization has not started, for people; None if it may
            start.
        available_at: When it may start next; None unless it waits for a runner.
        started_at: When the first attempt started; a retry may be requested later.
        attempt_started_at: When the last attempt started, if there are several.
        error: The last attempt's error, redacted; kept until an attempt completes.
        metadata: The mapping that the asset function returned.
    """

    id: int
    run_id: str
    asset: str
    partition: str
    state: MaterializationState
    attempt: int
    max_attempts: int
    requested_at: datetime
    available_at: datetime | None = None
    waiting_for: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    metadata: JsonObject | None = None
    attempt_started_at: datetime | None = None

    @property
    def duration(self) -> float | None:
        """Seconds of the last attempt, from its start to the end; None before the end."""
        started_at = self.attempt_started_at or self.started_at
        if started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - started_at).total_seconds()

    @property
    def total_duration(self) -> float | None:
        """Seconds from the first attempt's start to the end; None before the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim of one attempt: the exclusive right to run it and to commit its result.

    Attributes:
        token: Fencing token: a result with another token than the current one is refused.
        events: The events that requested the materialization, oldest first.
        upstream: The metadata of its dependencies for the same partition, by asset name.
    """

    materialization: Materialization
    token: str
    events: tuple[StoredEvent, ...]
    upstream: dict[str, JsonObject | None]
