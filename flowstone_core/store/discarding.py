"""Discarding: ends materializations that can never run, and requeues what waits for them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Row, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.materialization import (
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.store import overlap_queue, schema
from flowstone_core.store.enqueueing import materialization_of, requeue
from flowstone_core.store.readable_rows import UnreadableRowError, defaults, log_once

_rows = schema.materializations


def discard(
    connection: Connection, number: int, error: str, assets: AssetGraph | None, now: datetime
) -> Materialization:
    """Discard a materialization that has not started."""
    return _discard(connection, number, {"error": error}, assets, now)


def discard_unreadable(
    connection: Connection,
    row: Row[*tuple[object, ...]],
    error: UnreadableRowError,
    assets: AssetGraph | None,
    now: datetime,
) -> Materialization:
    """Discard a materialization whose row cannot be read, so that it stops only itself.

    The unreadable values are replaced, or nobody could look at it, or retry it.
    """
    log_once(error)
    readable = defaults(row, _rows, now)
    return _discard(connection, row.id, readable | {"error": error.message}, assets, now)


def _discard(
    connection: Connection,
    number: int,
    values: dict[str, object],
    assets: AssetGraph | None,
    now: datetime,
) -> Materialization:
    ended = {
        "state": MaterializationState.DISCARDED,
        "available_at": None,
        "token": None,
        "runner_id": None,
        "finished_at": now,
    }
    startable = predecessors(MaterializationState.DISCARDED)
    row = connection.execute(
        update(_rows)
        .where(_rows.c.id == number, _rows.c.state.in_(startable))
        .values(values | ended)
        .returning(_rows)
    ).one()
    discarded = materialization_of(row)
    waiting = None if assets is None else assets.dependents(discarded.asset)
    requeue(connection, discarded.partition, waiting, now)
    overlap_queue.on_end(connection, discarded, now)
    return discarded
