"""Materializations: listings, requests, retries and cancellations."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import PAYLOAD_LIMIT, JsonObject, dump_document
from flowstone_core.model.materialization import (
    Attempt,
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import attempts, events, overlap_ends, overlap_queue, schema
from flowstone_core.store.database import Database
from flowstone_core.store.discarding import requeue_after
from flowstone_core.store.enqueueing import materialization_of
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.load import Load, read_load
from flowstone_core.store.readable_rows import read, read_one

_rows = schema.materializations

_CANCELLED = "cancelled by an operator"


class MaterializationRepository:
    """Materializations; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def materialize(
        self,
        asset: Asset,
        partition: str,
        assets: AssetGraph,
        now: datetime,
        payload: JsonObject | None = None,
        key: str | None = None,
    ) -> tuple[StoredEvent, Materialization]:
        """Request the materialization of one partition, joining a pending one.

        Args:
            asset: The asset.
            partition: The partition, encoded.
            assets: All assets.
            now: The current time.
            payload: Passed to the asset function.
            key: The event's key; a repeated request with the same key changes nothing.

        Raises:
            ValidationError: If the payload is not JSON, or too large.
        """
        return self._database.write_and_notify(
            _materialize, asset, partition, assets, now, payload, key
        )

    def latest(
        self,
        asset: str | None = None,
        state: MaterializationState | None = None,
        partition: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Materialization]:
        """List the latest materializations, the newest first.

        Args:
            asset: Only the materializations of this asset.
            state: Only the materializations in this state.
            partition: Only the materializations of this partition.
            limit: At most this many.
            before_id: Only materializations with a smaller id: the next page.
        """
        return self._database.read(_latest, asset, state, partition, limit, before_id)

    def get(self, number: int) -> Materialization:
        """Return one materialization.

        Raises:
            NotFoundError: If there is no materialization with this number.
        """
        return self._database.read(_get, number)

    def attempts(self, number: int) -> list[Attempt]:
        """List the attempts of a materialization, the first one first."""
        return self._database.read(attempts.of_materialization, number)

    def events(self, number: int) -> list[StoredEvent]:
        """List the events that requested a materialization, the oldest first."""
        return self._database.read(events.of_materializations, [number])[number]

    def retry(self, number: int, assets: AssetGraph | None, now: datetime) -> Materialization:
        """Make a discarded, cancelled or waiting materialization due now.

        Args:
            number: The materialization.
            assets: All assets, for the number of attempts; None allows one more attempt.
            now: The time of the command.

        Raises:
            NotFoundError: If there is no materialization with this number.
            ConflictError: If its state does not allow a retry, or another materialization of the
                same partition is pending.
        """
        return self._database.write_and_notify(_retry, number, assets, now)

    def cancel(self, number: int, assets: AssetGraph, now: datetime) -> list[Materialization]:
        """Cancel a materialization that has not ended; a running attempt's result is discarded.

        Returns:
            The materializations that changed, the cancelled one first.

        Raises:
            NotFoundError: If there is no materialization with this number.
            ConflictError: If the materialization has ended.
        """
        return self._database.write_and_notify(_cancel, number, assets, now)

    def counts(self) -> dict[MaterializationState, int]:
        """Count materializations by state; every state is a key."""
        return self._database.read(_counts)

    def load(self, now: datetime) -> Load:
        """Return what runs, and since when the oldest one that may start is due."""
        return self._database.read(read_load, now)

    def active(self, source: str, limit: int = 2) -> int:
        """Count the recent materializations of a source that have not ended, up to a limit.

        Args:
            source: The source of the events that requested them, such as ``schedule:nightly``.
            limit: Stop counting here.
        """
        return self._database.read(overlap_queue.active, source, limit)


def _latest(
    connection: Connection,
    asset: str | None,
    state: MaterializationState | None,
    partition: str | None,
    limit: int,
    before_id: int | None,
) -> list[Materialization]:
    query = select(_rows).order_by(_rows.c.id.desc()).limit(limit)
    if asset is not None:
        query = query.where(_rows.c.asset == asset)
    if state is not None:
        query = query.where(_rows.c.state == state)
    if partition is not None:
        query = query.where(_rows.c.partition == partition)
    if before_id is not None:
        query = query.where(_rows.c.id < before_id)
    found = read(connection.execute(query), _rows, materialization_of)
    return attempts.with_last_starts(connection, found)


def _get(connection: Connection, number: int, *, lock: bool = False) -> Materialization:
    query = select(_rows).where(_rows.c.id == number)
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(
            f"unknown materialization #{number}",
            hint="flowstone materializations list shows them",
            materialization=number,
        )
    found = read_one(row, _rows, materialization_of)
    return attempts.with_last_starts(connection, [found])[0]


def _counts(connection: Connection) -> dict[MaterializationState, int]:
    query = select(_rows.c.state, func.count().label("number")).group_by(_rows.c.state)
    found = {row.state: row.number for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in MaterializationState}


def _materialize(
    connection: Connection,
    asset: Asset,
    partition: str,
    assets: AssetGraph,
    now: datetime,
    payload: JsonObject | None,
    key: str | None,
) -> tuple[StoredEvent, Materialization]:
    known = None if key is None else events.with_key(connection, "manual", key)
    if known is not None and known.materialization_id is not None:
        return known, _get(connection, known.materialization_id)
    text = None
    if payload is not None:
        text = dump_document(payload, what="the payload", limit=PAYLOAD_LIMIT)
    event = NewEvent(key or uuid.uuid4().hex, asset.name, partition, text)
    (stored,), _ = events.commit(connection, [FoundEvent("manual", event)], assets, now)
    number = stored.materialization_id
    assert number is not None  # noqa: S101 - the column cannot be null
    return stored, _get(connection, number)


def _retry(
    connection: Connection, number: int, assets: AssetGraph | None, now: datetime
) -> Materialization:
    found = _get(connection, number, lock=True)
    values: dict[str, object] = {"available_at": now}
    if found.state in predecessors(MaterializationState.PENDING):
        _refuse_second_pending(connection, found)
        asset = None if assets is None else assets.get(found.asset)
        values |= {
            "state": MaterializationState.PENDING,
            "requested_at": now,
            "finished_at": None,
            "max_attempts": found.attempt + (1 if asset is None else asset.max_attempts),
            "lost_attempts": 0,
        }
    elif found.state is not MaterializationState.RETRYING:
        raise ConflictError(
            f"cannot retry materialization #{number}: its state is {found.state}, and must be "
            "discarded, cancelled or retrying",
            hint=_other_way(found),
            materialization=number,
        )
    connection.execute(update(_rows).where(_rows.c.id == number).values(values))
    return _get(connection, number)


def _cancel(
    connection: Connection, number: int, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    found = _get(connection, number, lock=True)
    if found.state not in predecessors(MaterializationState.CANCELLED):
        raise ConflictError(
            f"cannot cancel materialization #{number}: its state is {found.state}",
            materialization=number,
        )
    connection.execute(
        update(_rows)
        .where(_rows.c.id == number)
        .values(
            state=MaterializationState.CANCELLED,
            available_at=None,
            waiting_for=None,
            finished_at=now,
            token=None,
            runner_id=None,
        )
    )
    if found.state is MaterializationState.RUNNING:
        attempts.close_running(connection, number, found.attempt, _CANCELLED, now)
    cancelled = _get(connection, number)
    requeue_after(connection, [cancelled], assets, now)
    overlap_ends.on_end(connection, [cancelled], now)
    return [cancelled]


def _refuse_second_pending(connection: Connection, found: Materialization) -> None:
    pending = connection.scalar(
        select(_rows.c.id).where(
            _rows.c.asset == found.asset, _rows.c.partition == found.partition, schema.PENDING
        )
    )
    if pending is not None:
        raise ConflictError(
            f"cannot retry materialization #{found.id}: "
            f"#{pending} is pending for the same partition of {found.asset}",
            hint="the pending one does the same work",
            materialization=found.id,
        )


def _other_way(found: Materialization) -> str | None:
    if found.state is MaterializationState.COMPLETED:
        return f"to materialize it again: flowstone materialize {found.asset} ..."
    return None
