"""Backfills: begun, continued, listed, cancelled and finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, Row, func, select, update

from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import backfill_partitions, schema
from flowstone_core.store.backfill_partitions import BackfillRecord, PartitionState
from flowstone_core.store.database import Database
from flowstone_core.store.enqueueing import ACTIVE
from flowstone_core.store.readable_rows import read, read_one
from flowstone_core.store.statements import insert

_rows = schema.backfills
_materializations = schema.materializations
_events = schema.events


class BackfillRepository:
    """Backfills; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, asset: str, first: str, last: str, every: str, *, force: bool, now: datetime
    ) -> tuple[BackfillRecord, bool]:
        """Begin a backfill, or continue the unfinished one with the same arguments.

        Returns:
            The backfill, and True if it had begun before.
        """
        return self._database.write(_begin, (asset, first, last, every, force), now)

    def unfinished(
        self, asset: str, first: str, last: str, every: str, *, force: bool
    ) -> BackfillRecord | None:
        """Return the backfill that `begin` would continue."""
        return self._database.read(_unfinished, (asset, first, last, every, force))

    def partition_states(
        self,
        asset: str,
        partitions: Collection[str],
        *,
        force: bool,
        backfill: BackfillRecord | None,
    ) -> dict[str, PartitionState]:
        """Return the states of partitions, in the order given.

        Args:
            asset: The asset.
            partitions: The texts of the partitions.
            force: Ignore completed and active materializations.
            backfill: The backfill whose requests count; None for none.
        """
        return self._database.read(
            backfill_partitions.partition_states, asset, partitions, force, backfill
        )

    def request(
        self,
        backfill: BackfillRecord,
        partitions: Collection[str],
        assets: AssetGraph,
        now: datetime,
    ) -> dict[str, PartitionState]:
        """Request the partitions that are missing; none is requested twice.

        Nothing is requested for a backfill that was cancelled.

        Returns:
            The states of the partitions afterwards, in the order given.
        """
        return self._database.write_and_notify(
            backfill_partitions.request, backfill, partitions, assets, now
        )

    def states(self, numbers: Iterable[int]) -> dict[int, MaterializationState]:
        """Return the states of at most `CHUNK` materializations, by number."""
        return self._database.read(backfill_partitions.states, numbers)

    def latest(
        self,
        *,
        asset: str | None = None,
        unfinished: bool = False,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[BackfillRecord]:
        """List backfills, newest first."""
        return self._database.read(_latest, asset, unfinished, limit, before_id)

    def get(self, number: int) -> BackfillRecord:
        """Return one backfill.

        Raises:
            NotFoundError: If no backfill has this number.
        """
        return self._database.read(_get, number)

    def counts(
        self, backfills: Collection[BackfillRecord]
    ) -> Mapping[int, Mapping[MaterializationState, int]]:
        """Count the materializations that backfills requested, by number and state."""
        return self._database.read(_counts, backfills)

    def see(self, number: int, total: int, now: datetime) -> None:
        """Note that a process works on a backfill."""
        self._database.write(_see, number, total, now)

    def leave(self, number: int) -> None:
        """Note that a process has stopped working on a backfill."""
        self._database.write(_leave, number)

    def cancel(self, number: int, now: datetime) -> BackfillRecord:
        """Cancel a backfill: it requests no more, and the same arguments begin a new one.

        Raises:
            NotFoundError: If no backfill has this number.
            ConflictError: If it has ended.
        """
        return self._database.write(_cancel, number, now)

    def only_pending(self, backfill: BackfillRecord) -> list[int]:
        """List the materializations that wait to run and that nothing else has requested."""
        return self._database.read(_only_pending, backfill)

    def finish(self, number: int, now: datetime) -> None:
        """Mark a backfill as finished; the same arguments begin a new one afterwards."""
        self._database.write(_finish, number, now)


_Identity = tuple[str, str, str, str, bool]
_IDENTITY = (_rows.c.asset, _rows.c.first, _rows.c.last, _rows.c.every, _rows.c.force)


def _begin(
    connection: Connection, identity: _Identity, now: datetime
) -> tuple[BackfillRecord, bool]:
    names = [column.name for column in _IDENTITY]
    statement = (
        insert(connection, _rows)
        .values({**dict(zip(names, identity, strict=True)), "created_at": now})
        .on_conflict_do_nothing(index_elements=names, index_where=schema.UNFINISHED)
        .returning(_rows)
    )
    while True:
        # Read first: a refused insert consumes a number.
        found = _unfinished(connection, identity)
        if found is not None:
            return found, True
        row = connection.execute(statement).one_or_none()
        if row is not None:
            return _record_of(row), False


def _unfinished(connection: Connection, identity: _Identity) -> BackfillRecord | None:
    same = [column == value for column, value in zip(_IDENTITY, identity, strict=True)]
    row = connection.execute(select(_rows).where(schema.UNFINISHED, *same)).one_or_none()
    return None if row is None else read_one(row, _rows, _record_of)


def _finish(connection: Connection, number: int, now: datetime) -> None:
    connection.execute(
        update(_rows)
        .where(_rows.c.id == number, _rows.c.finished_at.is_(None))
        .values(finished_at=now)
    )


def _record_of(row: Row[*tuple[object, ...]]) -> BackfillRecord:
    return BackfillRecord(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _latest(
    connection: Connection,
    asset: str | None,
    unfinished: bool,  # noqa: FBT001 - handed on as it came
    limit: int,
    before_id: int | None,
) -> list[BackfillRecord]:
    query = select(_rows).order_by(_rows.c.id.desc()).limit(limit)
    if asset is not None:
        query = query.where(_rows.c.asset == asset)
    if unfinished:
        query = query.where(schema.UNFINISHED)
    if before_id is not None:
        query = query.where(_rows.c.id < before_id)
    return read(connection.execute(query), _rows, _record_of)


def _get(connection: Connection, number: int, *, lock: bool = False) -> BackfillRecord:
    query = select(_rows).where(_rows.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError(f"unknown backfill {number}", backfill=number)
    return read_one(row, _rows, _record_of)


def _counts(
    connection: Connection, backfills: Collection[BackfillRecord]
) -> dict[int, dict[MaterializationState, int]]:
    numbers = {record.source: record.id for record in backfills}
    found: dict[int, dict[MaterializationState, int]] = {number: {} for number in numbers.values()}
    query = (
        select(_events.c.source, _materializations.c.state, func.count().label("count"))
        .join(_materializations, _materializations.c.id == _events.c.materialization_id)
        .where(_events.c.source.in_(numbers))
        .group_by(_events.c.source, _materializations.c.state)
    )
    for row in connection.execute(query):
        found[numbers[row.source]][MaterializationState(row.state)] = row._mapping["count"]  # noqa: SLF001 - SQLAlchemy's public name for it
    return found


def _see(connection: Connection, number: int, total: int, now: datetime) -> None:
    statement = update(_rows).where(_rows.c.id == number, _rows.c.finished_at.is_(None))
    connection.execute(statement.values(total=total, seen_at=now))


def _leave(connection: Connection, number: int) -> None:
    unfinished = update(_rows).where(_rows.c.id == number, _rows.c.finished_at.is_(None))
    connection.execute(unfinished.values(seen_at=None))


def _cancel(connection: Connection, number: int, now: datetime) -> BackfillRecord:
    found = _get(connection, number, lock=True)
    if found.finished_at is not None:
        ended = "cancelled" if found.cancelled_at is not None else "finished"
        raise ConflictError(
            f"cannot cancel backfill {number}: it is {ended} already", backfill=number
        )
    cancelled = update(_rows).where(_rows.c.id == number)
    connection.execute(cancelled.values(finished_at=now, cancelled_at=now))
    return _get(connection, number)


def _only_pending(connection: Connection, backfill: BackfillRecord) -> list[int]:
    others = _events.alias()
    also = (
        select(others.c.id)
        .where(others.c.materialization_id == _materializations.c.id)
        .where(others.c.source != backfill.source)
    )
    query = (
        select(_materializations.c.id)
        .join(_events, _events.c.materialization_id == _materializations.c.id)
        .where(_events.c.source == backfill.source, ~also.exists())
        .where(_materializations.c.state.in_(ACTIVE))
        .where(_materializations.c.state != MaterializationState.RUNNING)
        .order_by(_materializations.c.id)
    )
    return list(connection.scalars(query))
