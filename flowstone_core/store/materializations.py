"""Materializations: the listings, and what operators do to them."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import Connection, func, or_, select, update

from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import PAYLOAD_LIMIT, JsonObject, dump_document
from flowstone_core.model.materialization import Materialization, MaterializationState, predecessors
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import attempts, events, overlap_queue, schema
from flowstone_core.store.enqueueing import ACTIVE, let_go, materialization_of, of_assets
from flowstone_core.store.events import FoundEvent

_rows = schema.materializations

_CANCELLED = "cancelled by an operator"


def find(
    connection: Connection,
    asset: str | None,
    state: MaterializationState | None,
    partition: str | None,
    limit: int,
    before_id: int | None,
) -> list[Materialization]:
    """List materializations, newest first."""
    query = select(_rows).order_by(_rows.c.id.desc()).limit(limit)
    if asset is not None:
        query = query.where(_rows.c.asset == asset)
    if state is not None:
        query = query.where(_rows.c.state == state)
    if partition is not None:
        query = query.where(_rows.c.partition == partition)
    if before_id is not None:
        query = query.where(_rows.c.id < before_id)
    return [materialization_of(row) for row in connection.execute(query)]


def get(connection: Connection, number: int, *, lock: bool = False) -> Materialization:
    """Return one materialization.

    Raises:
        NotFoundError: If there is none of this number.
    """
    query = select(_rows).where(_rows.c.id == number)
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(
            f"there is no materialization #{number}",
            hint="flowstone materializations list shows them",
            materialization=number,
        )
    return materialization_of(row)


def counts(connection: Connection) -> dict[MaterializationState, int]:
    """Count materializations by state; each state is there, if only with zero."""
    query = select(_rows.c.state, func.count().label("number")).group_by(_rows.c.state)
    found = {row.state: row.number for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in MaterializationState}


def unfinished(connection: Connection, assets: AssetGraph, before: datetime | None) -> int:
    """Count those that have not ended; see `MaterializationQueue.unfinished`."""
    query = (
        select(func.count()).select_from(_rows).where(_rows.c.state.in_(ACTIVE), of_assets(assets))
    )
    if before is not None:
        query = query.where(or_(_rows.c.available_at.is_(None), _rows.c.available_at <= before))
    return connection.scalar(query) or 0


def materialize(
    connection: Connection,
    asset: Asset,
    partition: str,
    assets: AssetGraph,
    now: datetime,
    payload: JsonObject | None,
) -> tuple[StoredEvent, Materialization]:
    """Ask by hand for one partition to be made; it joins one that is pending.

    Raises:
        ValidationError: If the payload is not JSON, or too large.
    """
    text = None
    if payload is not None:
        text = dump_document(payload, what="the payload", limit=PAYLOAD_LIMIT)
    event = NewEvent(uuid.uuid4().hex, asset.name, partition, text)
    (stored,), _ = events.commit(connection, [FoundEvent("manual", event)], assets, now)
    number = stored.materialization_id
    assert number is not None  # noqa: S101 - the column cannot be null
    return stored, get(connection, number)


def retry(
    connection: Connection, number: int, assets: AssetGraph | None, now: datetime
) -> Materialization:
    """Have one that was discarded or cancelled made after all; or one that waits, at once.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If its state does not allow it, or another one is pending for the same
            partition.
    """
    found = get(connection, number, lock=True)
    values: dict[str, object] = {"available_at": now}
    if found.state in predecessors(MaterializationState.PENDING):
        _refuse_second_pending(connection, found)
        asset = None if assets is None else assets.get(found.asset)
        values |= {
            "state": MaterializationState.PENDING,
            "requested_at": now,
            "finished_at": None,
            "max_attempts": found.attempt + (1 if asset is None else asset.max_attempts),
        }
    elif found.state is not MaterializationState.RETRYING:
        raise ConflictError(
            f"materialization #{number} is {found.state}; only one that was discarded or "
            "cancelled, or that waits for its next attempt, can be retried",
            hint=_other_way(found),
            materialization=number,
        )
    connection.execute(update(_rows).where(_rows.c.id == number).values(values))
    return get(connection, number)


def cancel(
    connection: Connection, number: int, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Cancel one that has not ended; what was held back for it is looked at again.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If it has ended.
    """
    found = get(connection, number, lock=True)
    if found.state not in predecessors(MaterializationState.CANCELLED):
        raise ConflictError(
            f"materialization #{number} is {found.state} already", materialization=number
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
    waiting = (found.asset, *assets.dependents(found.asset))
    let_go(connection, found.partition, waiting, now)
    cancelled = get(connection, number)
    overlap_queue.ended(connection, cancelled, now)
    return [cancelled]


def _refuse_second_pending(connection: Connection, found: Materialization) -> None:
    pending = connection.scalar(
        select(_rows.c.id).where(
            _rows.c.asset == found.asset, _rows.c.partition == found.partition, schema.PENDING
        )
    )
    if pending is not None:
        raise ConflictError(
            f"materialization #{pending} is pending for the same partition of {found.asset}",
            hint="it does the same work: nothing needs to be retried",
            materialization=found.id,
        )


def _other_way(found: Materialization) -> str | None:
    if found.state is MaterializationState.COMPLETED:
        return f"to make it anew: flowstone materialize {found.asset} ..."
    return None
