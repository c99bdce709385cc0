"""Materializations: one asset, one partition, made by one run, with its attempts and its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import JsonObject


class MaterializationState(StrEnum):
    """Where a materialization stands."""

    PENDING = "pending"
    """Asked for and not started: further events for the same partition join it."""
    RUNNING = "running"
    """An attempt holds the current token."""
    RETRYING = "retrying"
    """Started before, waiting for its next attempt."""
    COMPLETED = "completed"
    DISCARDED = "discarded"
    """Attempts used up, or the asset function gave up; the error is kept."""
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless someone asks for it."""
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
            MaterializationState.DISCARDED,  # an asset it depends on could not be made
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
"""From each state, the states it may move to. The store makes no other move."""


def predecessors(state: MaterializationState) -> tuple[MaterializationState, ...]:
    """Return the states from which a materialization may move to ``state``."""
    return tuple(origin for origin, targets in LEGAL_MOVES.items() if state in targets)


class AttemptOutcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY_LATER = "retry_later"
    """The asset function asked to be tried later; no attempt is used up."""
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its worker died or lost its lease."""
    RELEASED = "released"
    """Its worker stopped before it ended; no attempt is used up."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a materialization; numbers begin at 1."""

    number: int
    started_at: datetime
    finished_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    error: str | None = None
    runner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Materialization:
    """A materialization as the store has it.

    Attributes:
        id: Counts up; the number that commands take.
        run_id: Stable over all attempts and unique everywhere: the idempotency key.
        partition: The partition's text; `decode_partition` gives its value.
        attempt: How many attempts have started.
        max_attempts: How many may start.
        waiting_for: Why a pending one is not started yet, for people; None when it may start.
        available_at: When it may start next; None unless it waits for a worker.
        started_at: When the first attempt started.
        error: The last attempt's error, redacted; kept until an attempt completes.
        metadata: What the asset function returned.
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

    @property
    def duration(self) -> float | None:
        """Seconds from the first attempt's start to the end; None before the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt: handed out by the store, given back by its token.

    Attributes:
        token: Only the attempt that holds the current token can finish the materialization.
        events: The events that asked for it, oldest first.
        upstream: The metadata of the assets it depends on, for the same partition, by name.
    """

    materialization: Materialization
    token: str
    events: tuple[StoredEvent, ...]
    upstream: dict[str, JsonObject | None]
