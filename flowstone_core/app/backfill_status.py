"""Status of backfills: their records and the states of what they requested, in one view."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from flowstone_core.errors import ValidationError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.partition import Partition, decode_partition
from flowstone_core.store import BackfillRecord, Store

QUIET_FOR = timedelta(minutes=2)
"""A backfill that no process has worked on for this long is interrupted."""

_CALENDAR = frozenset({"day", "week", "month", "year"})


class BackfillState(StrEnum):
    """State of a backfill."""

    RUNNING = "running"
    """A process works on it."""
    INTERRUPTED = "interrupted"
    """It is not finished, and no process works on it: the same command continues it."""
    CANCELLED = "cancelled"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class BackfillStatus:
    """One backfill.

    Attributes:
        first: The text of the first partition.
        last: The text of the upper bound of the last partition.
        every: The step between two partitions.
        force: True if completed partitions are materialized again.
        total: Number of partitions; None if an older version began it.
        requested: Materializations that it has requested: the sum of the next three.
        failed: Requested materializations that were discarded or cancelled.
        seen_at: When a process last worked on it, to the minute; None if that has stopped.
        command: The command that continues it; None if it has ended, or its row is damaged.
    """

    id: int
    asset: str
    first: str
    last: str
    every: str
    force: bool
    state: BackfillState
    total: int | None
    requested: int
    completed: int
    failed: int
    unfinished: int
    created_at: datetime
    seen_at: datetime | None
    finished_at: datetime | None
    command: str | None


def backfill_statuses(
    store: Store, records: Sequence[BackfillRecord], now: datetime
) -> tuple[BackfillStatus, ...]:
    """Return the status of each backfill, in the order given."""
    counts = store.backfills.counts(records)
    return tuple(_status(record, counts[record.id], now) for record in records)


def _status(
    record: BackfillRecord, counts: Mapping[MaterializationState, int], now: datetime
) -> BackfillStatus:
    state = _state(record, now)
    completed = counts.get(MaterializationState.COMPLETED, 0)
    ended = sum(count for each, count in counts.items() if each.ended)
    requested = sum(counts.values())
    over = record.finished_at is not None
    return BackfillStatus(
        record.id,
        record.asset,
        record.first,
        record.last,
        record.every,
        record.force,
        state,
        record.total,
        requested,
        completed,
        failed=ended - completed,
        unfinished=requested - ended,
        created_at=record.created_at,
        seen_at=record.seen_at,
        finished_at=record.finished_at,
        command=None if over else _command(record),
    )


def _state(record: BackfillRecord, now: datetime) -> BackfillState:
    if record.cancelled_at is not None:
        return BackfillState.CANCELLED
    if record.finished_at is not None:
        return BackfillState.FINISHED
    begins = record.total is None  # and was not seen yet
    seen = record.created_at if begins else record.seen_at
    works = seen is not None and now - seen < QUIET_FOR
    return BackfillState.RUNNING if works else BackfillState.INTERRUPTED


def _command(record: BackfillRecord) -> str | None:
    """Return the command line of the same backfill; None if its row is damaged."""
    every, _, zone = record.every.partition(" in ")
    try:
        first, last = decode_partition(record.first), decode_partition(record.last)
    except ValidationError:
        return None
    if not zone and every in _CALENDAR and isinstance(first, datetime) and first.tzinfo:
        zone = "UTC"
    words = ["flowstone", "backfill", record.asset, "--from", _typed(record.first, first)]
    words += ["--to", _typed(record.last, last), "--every", every]
    words += ["--timezone", zone] if zone else []
    return shlex.join([*words, "--force"] if record.force else words)


def _typed(text: str, value: Partition) -> str:
    """Return a partition as a person types it."""
    return value.isoformat() if isinstance(value, date) else text
