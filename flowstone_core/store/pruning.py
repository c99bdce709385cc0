"""Pruning: deletes old history in small batches.

Each batch is one transaction, so that other writers proceed between two batches, and the store is
consistent after each. A batch has as many rows as take some milliseconds, as measured with the
batches before it. Rows are scanned by number, the oldest first; the scan ends at a page without
old rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Column, Connection, Table, and_, delete, exists, func, not_, select, update

from flowstone_core.model.clock import Clock
from flowstone_core.store import schema
from flowstone_core.store.batch_writer import BatchWriter
from flowstone_core.store.database import Database
from flowstone_core.store.retention import (
    Condition,
    Expiry,
    KeyRetention,
    is_forgettable,
    is_latest,
    is_referred_to,
    unfinished_backfills,
)

BATCH = 500
"""Rows of a page, and the most rows in one transaction."""

_rows = schema.materializations
_events = schema.events
_ticks = schema.ticks
_attempts = schema.attempts
_skips = schema.skips
_backfills = schema.backfills
_runners = schema.runners


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of deleted rows, and of old rows that were kept.

    Attributes:
        keys: Forgotten keys: they may occur again.
        kept_events: Old events that are kept because their keys are remembered.
        kept_materializations: Old materializations that are kept because each is the latest
            completed one of its partition: the partition is up to date.
    """

    events: int = 0
    materializations: int = 0
    attempts: int = 0
    ticks: int = 0
    skips: int = 0
    backfills: int = 0
    runners: int = 0
    keys: int = 0
    kept_events: int = 0
    kept_materializations: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        names = (field.name for field in fields(self))
        return Pruned(**{name: getattr(self, name) + getattr(other, name) for name in names})


_Delete: TypeAlias = Callable[[Connection, Collection[int], Expiry, int], tuple[Pruned, bool]]


class Pruning:
    """Deletes old rows; from any thread, and in several processes at once.

    Each method yields the result of one step before the next one begins; a caller that stops
    iterating stops the deletion. Many steps only read.

    Args:
        database: The store's database.
        clock: Measures the transactions.
        dry_run: Count the rows that would be deleted, and delete nothing.
    """

    def __init__(self, database: Database, clock: Clock, *, dry_run: bool = False) -> None:
        self._database = database
        self._writer = BatchWriter(database, clock, BATCH)
        self._dry_run = dry_run

    def forget(self, source: str, before: datetime) -> Iterator[Pruned]:
        """Forget the keys of a source's events that are older than an instant."""
        condition = is_forgettable(source, before)
        if self._dry_run:
            yield Pruned(keys=self._database.read(_count, _events, condition))
            return
        # Read first: most sources have none, and need no transaction that writes.
        room = self._writer.room
        while found := self._database.read(_some, condition, room):
            yield Pruned(keys=self._writer.write(_forget, found))
            if len(found) < room:
                return
            room = self._writer.room

    def prune(self, before: datetime, keys: KeyRetention) -> Iterator[Pruned]:
        """Delete rows that ended before an instant and are no longer needed.

        That is: events, unless their keys are remembered or an unfinished backfill requested
        them; materializations with their attempts, unless an event is kept, or they are the
        latest completed one of their partition; ticks without events, with their skips; finished
        backfills; runners that own nothing.
        """
        expiry = Expiry(before, keys, self._database.read(unfinished_backfills))
        for page in self._pages(_rows, _rows.c.requested_at, _rows.c.finished_at, before):
            found, kept = self._database.read(_count_materializations, page, expiry)
            yield kept
            yield from self._prune_page(found, _prune_materializations, page, expiry)
        for page in self._pages(_ticks, _ticks.c.finished_at, _ticks.c.finished_at, before):
            found = self._database.read(_count_ticks, page, expiry)
            yield from self._prune_page(found, _prune_ticks, page, expiry)
        columns = _backfills.c.created_at, _backfills.c.finished_at
        for page in self._pages(_backfills, *columns, before):
            yield from self._prune_page(Pruned(backfills=len(page)), _prune_backfills, page, expiry)
        yield from self._runners(expiry)

    def _prune_page(
        self, found: Pruned, prune: _Delete, page: Collection[int], expiry: Expiry
    ) -> Iterator[Pruned]:
        """Delete the old rows of a page, in batches."""
        if self._dry_run or found == Pruned():
            yield found
            return
        rest = list(page)
        while rest:
            part, rest = rest[: self._writer.room], rest[self._writer.room :]
            more = True
            while more:
                step, more = self._writer.write(prune, part, expiry, self._writer.room)
                yield step

    def _runners(self, expiry: Expiry) -> Iterator[Pruned]:
        last: str | None = ""
        while last is not None:
            last, gone = self._database.read(_gone_runners, last, expiry)
            if self._dry_run or not gone:
                yield Pruned(runners=len(gone))
            else:
                condition = and_(_runners.c.id.in_(gone), expiry.is_gone())
                yield Pruned(runners=self._writer.write(_delete, _runners, condition))

    def _pages(
        self, table: Table, begun: Column[datetime], ended: Column[datetime], before: datetime
    ) -> Iterator[list[int]]:
        """Yield the ids of rows that ended before an instant, page by page, the oldest first.

        The scan ends at a page without a row that began before the instant: one younger row is
        not enough, since the clock may have been wrong when that row was written.
        """
        last: int | None = 0
        while last is not None:
            last, page = self._database.read(_page, table, begun, ended, last, before)
            if page:
                yield page


def _page(
    connection: Connection,
    table: Table,
    begun: Column[datetime],
    ended: Column[datetime],
    last: int,
    before: datetime,
) -> tuple[int | None, list[int]]:
    """Return the start of the next page, and the old rows of this one."""
    query = select(table.c.id, begun.label("begun"), ended.label("ended"))
    query = query.where(table.c.id > last).order_by(table.c.id).limit(BATCH)
    rows = connection.execute(query).all()
    old = [row.id for row in rows if row.ended is not None and row.ended < before]
    goes_on = len(rows) == BATCH and any(row.begun < before for row in rows)
    return rows[-1].id if goes_on else None, old


def _some(connection: Connection, condition: Condition, limit: int) -> list[int]:
    return list(connection.scalars(select(_events.c.id).where(condition).limit(limit)))


def _forget(connection: Connection, numbers: Collection[int]) -> int:
    forgettable = and_(_events.c.id.in_(numbers), not_(_events.c.forgotten))
    return connection.execute(update(_events).where(forgettable).values(forgotten=True)).rowcount


def _count_materializations(
    connection: Connection, page: Collection[int], expiry: Expiry
) -> tuple[Pruned, Pruned]:
    """Count the rows of a page that can be deleted, and those that are kept."""
    free = not_(is_referred_to(expiry.stays()))
    query = select(_rows.c.id, is_latest().label("latest"), free.label("free"))
    rows = connection.execute(query.where(_rows.c.id.in_(page))).all()
    going = [row.id for row in rows if row.free and not row.latest]
    goes, held = func.count().filter(not_(expiry.stays())), func.count().filter(expiry.held())
    events = select(goes, held).where(_events.c.materialization_id.in_(page))
    gone, remembered = connection.execute(events).one()
    attempts = _count(connection, _attempts, _attempts.c.materialization_id.in_(going))
    return (
        Pruned(events=gone, materializations=len(going), attempts=attempts),
        Pruned(kept_events=remembered, kept_materializations=sum(row.latest for row in rows)),
    )


def _prune_materializations(
    connection: Connection, page: Collection[int], expiry: Expiry, room: int
) -> tuple[Pruned, bool]:
    """Delete one batch of a page; return True if there is more."""
    # Locked: an operator may have retried one meanwhile.
    query = select(_rows.c.id).where(_rows.c.id.in_(page), expiry.ended()).order_by(_rows.c.id)
    ended = connection.scalars(query.with_for_update(skip_locked=True)).all()
    asked = select(_events.c.id).where(_events.c.materialization_id.in_(ended))
    going = asked.where(not_(expiry.stays())).limit(room)
    events = _delete(connection, _events, _events.c.id.in_(going))
    if events == room:
        return Pruned(events=events), True
    free = and_(_rows.c.id.in_(ended), not_(is_referred_to()), not_(is_latest()))
    link = _attempts.c.materialization_id
    rows, attempts, more = _delete_with(connection, _rows, free, link, room - events)
    return Pruned(events=events, materializations=rows, attempts=attempts), more


def _count_ticks(connection: Connection, page: Collection[int], expiry: Expiry) -> Pruned:
    """Count the ticks of a page that can be deleted once their events are."""
    query = select(_ticks.c.id).where(_ticks.c.id.in_(page), expiry.frees_tick())
    going = connection.scalars(query).all()
    return Pruned(ticks=len(going), skips=_count(connection, _skips, _skips.c.tick_id.in_(going)))


def _prune_ticks(
    connection: Connection,
    page: Collection[int],
    expiry: Expiry,  # noqa: ARG001 - one signature for all
    room: int,
) -> tuple[Pruned, bool]:
    free = and_(_ticks.c.id.in_(page), not_(exists().where(_events.c.tick_id == _ticks.c.id)))
    rows, skips, more = _delete_with(connection, _ticks, free, _skips.c.tick_id, room)
    return Pruned(ticks=rows, skips=skips), more


def _prune_backfills(
    connection: Connection,
    page: Collection[int],
    expiry: Expiry,  # noqa: ARG001 - one signature for all
    room: int,  # noqa: ARG001
) -> tuple[Pruned, bool]:
    # A finished backfill stays finished.
    return Pruned(backfills=_delete(connection, _backfills, _backfills.c.id.in_(page))), False


def _gone_runners(
    connection: Connection, last: str, expiry: Expiry
) -> tuple[str | None, list[str]]:
    """Return the start of the next page of runners, and the runners of this one to delete."""
    query = select(_runners.c.id, expiry.is_gone().label("gone")).where(_runners.c.id > last)
    rows = connection.execute(query.order_by(_runners.c.id).limit(BATCH)).all()
    return rows[-1].id if len(rows) == BATCH else None, [row.id for row in rows if row.gone]


def _delete_with(
    connection: Connection, table: Table, condition: Condition, link: Column[int], room: int
) -> tuple[int, int, bool]:
    """Delete rows together with the rows that refer to them, up to the size of a batch.

    At least one row is deleted, with any number of referring rows.

    Args:
        table: The table.
        condition: The rows to delete.
        link: The column of another table that refers to them.

    Returns:
        The number of deleted rows, of deleted referring rows, and True if there are more.
    """
    referring = select(func.count()).where(link == table.c.id).scalar_subquery()
    query = select(table.c.id, referring.label("referring")).where(condition)
    found = connection.execute(query.order_by(table.c.id)).all()
    going: list[int] = []
    for row in found:
        room -= 1 + row.referring
        if going and room < 0:
            break
        going.append(row.id)
    others = _delete(connection, link.table, link.in_(going))
    rows = _delete(connection, table, table.c.id.in_(going))
    return rows, others, len(going) < len(found)


def _delete(connection: Connection, table: Table, condition: Condition) -> int:
    return connection.execute(delete(table).where(condition)).rowcount


def _count(connection: Connection, table: Table, condition: Condition) -> int:
    return connection.scalar(select(func.count()).select_from(table).where(condition)) or 0
