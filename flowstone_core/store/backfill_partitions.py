"""Partitions of a backfill: their states, and the requests for those that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Select, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.chunking import chunks
from flowstone_core.model.json_document import dump_document
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import events, schema
from flowstone_core.store.enqueueing import ACTIVE
from flowstone_core.store.events import FoundEvent

_rows = schema.backfills
_materializations = schema.materializations
_events = schema.events

_PAYLOAD_LIMIT = 100


@dataclass(frozen=True, slots=True)
class BackfillRecord:
    """A stored backfill.

    Attributes:
        first: The text of the first partition.
        last: The text of the upper bound of the last partition.
        every: The step between two partitions, as a `PartitionRange` writes it.
        force: True if completed partitions are materialized again.
        finished_at: When all its materializations had ended, or when it was cancelled.
        total: Number of partitions; None if an older version began it.
        seen_at: When a process last worked on it, to the minute; None if that has stopped.
        cancelled_at: When it was cancelled.
    """

    id: int
    asset: str
    first: str
    last: str
    every: str
    force: bool
    created_at: datetime
    finished_at: datetime | None = None
    total: int | None = None
    seen_at: datetime | None = None
    cancelled_at: datetime | None = None

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"backfill:{self.id}"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The state of one partition in a backfill.

    Attributes:
        requested_id: The materialization that the backfill requested.
        state: The state of that materialization.
        completed: True if the partition is completed; not read for a forced backfill.
        active: The newest active materialization of it; not read for a forced backfill.
    """

    requested_id: int | None = None
    state: MaterializationState | None = None
    completed: bool = False
    active: int | None = None

    @property
    def missing(self) -> bool:
        """True if the backfill has to request the partition."""
        return self.requested_id is None and not self.completed and self.active is None


def partition_states(
    connection: Connection,
    asset: str,
    partitions: Collection[str],
    force: bool,  # noqa: FBT001 - handed on as it came
    backfill: BackfillRecord | None,
) -> dict[str, PartitionState]:
    """Return the states of partitions, in the order given."""
    found: dict[str, PartitionState] = {}
    for chunk in chunks(partitions):
        # In this order: on PostgreSQL each statement sees all earlier commits, and an active
        # materialization may complete before the next statement.
        active = {} if force else _active(connection, asset, chunk)
        completed = set() if force else _completed(connection, asset, chunk)
        requested = {} if backfill is None else _requested(connection, backfill, chunk)
        for partition in chunk:
            number, state = requested.get(partition, (None, None))
            found[partition] = PartitionState(
                number, state, partition in completed, active.get(partition)
            )
    return found


def request(
    connection: Connection,
    backfill: BackfillRecord,
    partitions: Collection[str],
    assets: AssetGraph,
    now: datetime,
) -> dict[str, PartitionState]:
    """Request the partitions that are missing; return the states afterwards."""
    # Locked: another process that runs the same backfill requests before or after, not between.
    mine = select(_rows.c.cancelled_at).where(_rows.c.id == backfill.id).with_for_update()
    cancelled = connection.scalar(mine) is not None
    found = partition_states(connection, backfill.asset, partitions, backfill.force, backfill)
    if cancelled:
        return found
    missing = [partition for partition, state in found.items() if state.missing]
    payload = dump_document({"backfill": backfill.id}, what="the payload", limit=_PAYLOAD_LIMIT)
    wanted = [
        FoundEvent(backfill.source, NewEvent(partition, backfill.asset, partition, payload))
        for partition in missing
    ]
    stored, _ = events.commit(connection, wanted, assets, now)
    for event in stored:
        found[event.partition] = replace(
            found[event.partition],
            requested_id=event.materialization_id,
            state=MaterializationState.PENDING,
        )
    return found


def _requested(
    connection: Connection, backfill: BackfillRecord, partitions: Sequence[str]
) -> dict[str, tuple[int, MaterializationState]]:
    query = (
        select(_events.c.key, _materializations.c.id, _materializations.c.state)
        .join(_materializations, _materializations.c.id == _events.c.materialization_id)
        .where(schema.REMEMBERED, _events.c.source == backfill.source)
        .where(_events.c.key.in_(partitions))
    )
    return {row.key: (row.id, MaterializationState(row.state)) for row in connection.execute(query)}


def _completed(connection: Connection, asset: str, partitions: Sequence[str]) -> set[str]:
    query = _of(asset, partitions).distinct()
    completed = _materializations.c.state == MaterializationState.COMPLETED
    return {row.partition for row in connection.execute(query.where(completed))}


def _active(connection: Connection, asset: str, partitions: Sequence[str]) -> dict[str, int]:
    query = _of(asset, partitions).add_columns(_materializations.c.id)
    found: dict[str, int] = {}
    # Not sorted by the database: SQLite would read the asset's whole history, by number.
    for row in connection.execute(query.where(_materializations.c.state.in_(ACTIVE))):
        found[row.partition] = max(row.id, found.get(row.partition, 0))
    return found


def _of(asset: str, partitions: Sequence[str]) -> Select[str]:
    # One column varies, so IN will do, and SQLAlchemy caches the statement.
    return select(_materializations.c.partition).where(
        _materializations.c.asset == asset, _materializations.c.partition.in_(partitions)
    )


def states(connection: Connection, numbers: Iterable[int]) -> dict[int, MaterializationState]:
    """Return the states of materializations, by number."""
    query = select(_materializations.c.id, _materializations.c.state).where(
        _materializations.c.id.in_(list(numbers))
    )
    return {row.id: MaterializationState(row.state) for row in connection.execute(query)}
