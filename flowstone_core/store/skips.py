"""Skips: the instants for which a schedule fired nothing, and the reason of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select

from flowstone_core.model.tick import Skip, SkipReason, TickOutcome
from flowstone_core.store import schema
from flowstone_core.store.database import Database
from flowstone_core.store.readable_rows import read
from flowstone_core.store.row_writes import RowInsert

_skips = schema.skips
_ticks = schema.ticks

_INSERT = RowInsert(
    *(_skips.c[name] for name in ("schedule", "tick_id", "reason", "first_at", "last_at")),
    *(_skips.c[name] for name in ("count", "complete")),
)


@dataclass(frozen=True, slots=True)
class StoredSkip:
    """A stored skip of a schedule.

    Attributes:
        tick_id: The tick that recorded it.
        skip: The instants and the reason.
    """

    id: int
    schedule: str
    tick_id: int
    skip: Skip


class SkipRepository:
    """Skips of schedules; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(
        self, schedule: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[StoredSkip]:
        """List the latest skips, the newest first.

        Args:
            schedule: Only the skips of this schedule.
            limit: At most this many.
            before_id: Only skips with a smaller id: the next page.
        """
        return self._database.read(_latest, schedule, limit, before_id)


def record_with_tick(
    connection: Connection, name: str, skips: Sequence[Skip], now: datetime
) -> None:
    """Insert skips that no tick made, with a tick for them."""
    if not skips:
        return
    tick = {
        "source": f"schedule:{name}",
        "outcome": TickOutcome.SKIPPED,
        "started_at": now,
        "finished_at": now,
        "events": 0,
        "duplicates": 0,
        "skipped": sum(skip.count for skip in skips),
    }
    number = connection.scalar(insert(_ticks).values(tick).returning(_ticks.c.id))
    record(connection, [(name, number, skips)])


def record(
    connection: Connection, skipped: Iterable[tuple[str, int | None, Sequence[Skip]]]
) -> None:
    """Insert skips: (schedule, tick id, skips)."""
    rows = [
        (name, tick_id, skip.reason.value, skip.first, skip.last, skip.count, skip.complete)
        for name, tick_id, skips in skipped
        for skip in skips
    ]
    _INSERT(connection, rows)


def _latest(
    connection: Connection, name: str | None, limit: int, before_id: int | None
) -> list[StoredSkip]:
    query = select(_skips).order_by(_skips.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(_skips.c.schedule == name)
    if before_id is not None:
        query = query.where(_skips.c.id < before_id)
    return read(connection.execute(query), _skips, _skip_of)


def _skip_of(row: Row[*tuple[object, ...]]) -> StoredSkip:
    number = row._mapping["count"]  # noqa: SLF001 - a method of the row has the same name
    skip = Skip(SkipReason(row.reason), row.first_at, row.last_at, number, row.complete)
    return StoredSkip(row.id, row.schedule, row.tick_id, skip)
