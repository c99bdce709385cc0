"""Discarding: ends materializations that can never run, and requeues what waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Text, bindparam, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.materialization import (
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.store import overlap_ends, schema
from flowstone_core.store.column_types import ID, UtcDateTime
from flowstone_core.store.enqueueing import Slot, materialization_of, requeue, requeue_partitions
from flowstone_core.store.readable_rows import AnyRow, UnreadableRowError, defaults, log_once
from flowstone_core.store.row_sets import row_set

_rows = schema.materializations

_ENDED = {
    "state": MaterializationState.DISCARDED,
    "available_at": None,
    "token": None,
    "runner_id": None,
    "finished_at": bindparam("now", type_=UtcDateTime()),
}
_ended = row_set("ended", id=ID, error=Text())
_DISCARD = (
    update(_rows)
    .where(
        _rows.c.id == _ended.c.id,
        # Not a plain comparison, or SQLite would read all of these states by index.
        _rows.c.state.concat("").in_(predecessors(MaterializationState.DISCARDED)),
    )
    .values({**_ENDED, "error": _ended.c.error})
    .returning(_rows)
)


def discard(
    connection: Connection,
    errors: Mapping[int, str],
    assets: AssetGraph | None,
    now: datetime,
) -> list[Materialization]:
    """Discard materializations that have not started or were lost.

    Args:
        connection: A transaction that has locked them.
        errors: The reason of each, by number.
        assets: All assets; None requeues whatever waits for the same partitions.
        now: The current time.

    Returns:
        The discarded ones, in the order of ``errors``.
    """
    if not errors:
        return []
    rows = connection.execute(_DISCARD, {"ended": list(errors.items()), "now": now})
    found = {row.id: materialization_of(row) for row in rows}
    discarded = [found[number] for number in errors]
    requeue_after(connection, discarded, assets, now)
    overlap_ends.on_end(connection, discarded, now)
    return discarded


def discard_unreadable(
    connection: Connection,
    rows: Mapping[AnyRow, UnreadableRowError],
    assets: AssetGraph | None,
    now: datetime,
) -> list[Materialization]:
    """Discard materializations whose rows cannot be read, so that each stops only itself.

    The unreadable values are replaced, or nobody could look at it, or retry it: by a statement for
    each row, because each has others.
    """
    for row, error in rows.items():
        log_once(error)
        found = defaults(row, _rows, now)
        readable = {name: value for name, value in found.items() if name not in _ENDED}
        if readable:
            connection.execute(update(_rows).where(_rows.c.id == row.id).values(readable))
    errors = {row.id: error.message for row, error in rows.items()}
    return discard(connection, errors, assets, now)


def requeue_after(
    connection: Connection,
    ended: Sequence[Materialization],
    assets: AssetGraph | None,
    now: datetime,
) -> None:
    """Requeue what waits for materializations that have ended.

    Args:
        connection: The transaction that ended them.
        ended: The materializations.
        assets: All assets; None requeues whatever waits for the same partitions.
        now: The current time.
    """
    if assets is None:
        requeue_partitions(connection, [item.partition for item in ended], now)
    else:
        requeue(connection, slots_after(ended, assets), now)


def slots_after(ended: Iterable[Materialization], assets: AssetGraph) -> list[Slot]:
    """Return the slots of those that may wait for materializations to end."""
    return [
        (name, item.partition)
        for item in ended
        for name in (item.asset, *assets.dependents(item.asset))
    ]
