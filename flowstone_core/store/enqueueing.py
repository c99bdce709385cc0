"""Enqueueing: creates pending materializations or joins existing ones, and requeues held ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    literal,
    null,
    or_,
    select,
    true,
    update,
)

from flowstone_core.errors import NotFoundError, did_you_mean
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.json_document import load_object
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.column_types import UtcDateTime
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import RowUpdate
from flowstone_core.store.statements import insert_for

_rows = schema.materializations

Slot: TypeAlias = tuple[str, str]
"""An asset's name and a partition's text."""

SLOT = (_rows.c.asset, _rows.c.partition)
"""The columns of a slot."""

ACTIVE = tuple(state for state in MaterializationState if not state.ended)
"""The states of a materialization that has not ended."""


def enqueue(
    connection: Connection, slots: Iterable[Slot], assets: AssetGraph, now: datetime
) -> tuple[dict[Slot, int], list[Materialization]]:
    """Return a pending materialization for each slot: the existing one, or a new one.

    The pending ones stay pending until the end of the transaction.

    Returns:
        The number of each slot's materialization, and those that are new.

    Raises:
        NotFoundError: If an asset is not in ``assets``.
    """
    numbers: dict[Slot, int] = {}
    created: list[Materialization] = []
    missing = dict.fromkeys(slots)
    # On PostgreSQL a pending one may be claimed before it is locked: then a new one is inserted.
    while missing:
        inserted = _insert(connection, missing, assets, now)
        numbers.update({(item.asset, item.partition): item.id for item in inserted})
        created += inserted
        numbers.update(_pending(connection, [slot for slot in missing if slot not in numbers]))
        missing = dict.fromkeys(slot for slot in missing if slot not in numbers)
    return numbers, sorted(created, key=lambda item: item.id)


def requeue(connection: Connection, slots: Iterable[Slot], now: datetime) -> None:
    """Requeue materializations of slots that are held back for a dependency.

    Args:
        connection: A transaction.
        slots: The slots of the materializations.
        now: The time from which they are due.
    """
    held = dict.fromkeys(slots)
    _REQUEUE(connection, [(asset, partition, now) for asset, partition in held])


def requeue_partitions(connection: Connection, partitions: Iterable[str], now: datetime) -> None:
    """Requeue materializations of partitions, of any asset; see `requeue`."""
    given = [(partition,) for partition in dict.fromkeys(partitions)]
    connection.execute(_REQUEUE_PARTITIONS, {"partitions": given, "now": now})


def requeue_all(connection: Connection, assets: AssetGraph, now: datetime) -> None:
    """Requeue all materializations that are held back, for a check against the current assets."""
    connection.execute(
        update(_rows)
        .where(_HELD_BACK, of_assets(assets))
        .values(available_at=now, waiting_for=None)
    )


def of_assets(assets: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a materialization belongs to one of the assets.

    Not a plain comparison, or SQLite would use the index on assets, and read their whole
    history, instead of the partial index that finds the few candidates.
    """
    return _rows.c.asset.concat("").in_(list(assets))


def is_active(state: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a state is active; without ``IN``, for hot statements."""
    return or_(*(state == each for each in ACTIVE))


def asset_named(name: str, assets: AssetGraph) -> Asset:
    """Return an asset.

    Raises:
        NotFoundError: If no pipeline declares the asset.
    """
    asset = assets.get(name)
    if asset is None:
        hint = did_you_mean(name, assets) or None
        raise NotFoundError(f"unknown asset {name!r}", hint=hint, asset=name)
    return asset


def materialization_of(row: Row[*tuple[object, ...]]) -> Materialization:
    """Read a materialization from its row."""
    metadata = row._mapping["metadata"]  # noqa: SLF001 - SQLAlchemy's public name for it
    return Materialization(
        id=row.id,
        run_id=row.run_id,
        asset=row.asset,
        partition=row.partition,
        state=MaterializationState(row.state),
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        requested_at=row.requested_at,
        available_at=row.available_at,
        waiting_for=row.waiting_for,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        metadata=None if metadata is None else load_object(metadata),
    )


_NEW = row_set(
    "new",
    **{name: _rows.c[name].type for name in ("run_id", "asset", "partition", "max_attempts")},
)
_SLOTS = row_set("slots", **{column.name: column.type for column in SLOT})


def _insertion(dialect: str) -> HotStatement[int, str, str]:
    now = bindparam("now", type_=UtcDateTime)
    values: dict[str, ColumnElement[Any]] = {
        **{column.name: column for column in _NEW.c if column.name in _rows.c},
        "state": literal(MaterializationState.PENDING.value),
        "attempt": literal(0),
        "requested_at": now,
        "available_at": now,
    }
    # SQLite needs the condition: it would take ON CONFLICT for that of a join.
    given = select(*values.values()).where(true()).order_by(_NEW.c.position)
    return HotStatement(
        insert_for(dialect, _rows)
        .from_select(list(values), given)
        .on_conflict_do_nothing(index_elements=["asset", "partition"], index_where=schema.PENDING)
        .returning(_rows.c.id, *SLOT)
    )


_HELD_BACK = and_(schema.PENDING, _rows.c.available_at.is_(None), _rows.c.after_id.is_(None))
_REQUEUE = RowUpdate(
    _rows.c.asset,
    {"partition": _rows.c.partition.type, "now": UtcDateTime()},
    lambda new: {"available_at": new["now"], "waiting_for": null()},
    same=["partition"],
    where=_HELD_BACK,
)
_PARTITIONS = row_set("partitions", held=_rows.c.partition.type)
_REQUEUE_PARTITIONS = (
    update(_rows)
    .where(_rows.c.partition.in_(select(_PARTITIONS.c.held)), _HELD_BACK)
    .values(available_at=bindparam("now", type_=UtcDateTime()), waiting_for=None)
)

_INSERT = {dialect: _insertion(dialect) for dialect in ("sqlite", "postgresql")}
_FIND_PENDING = HotStatement(
    select(_rows.c.id, *SLOT)
    .select_from(matching(_SLOTS, _rows))
    .where(schema.PENDING)
    .order_by(_rows.c.id)
    # A shared lock: a claim has to wait, another join does not.
    .with_for_update(read=True, of=_rows)
)


def _insert(
    connection: Connection, slots: Iterable[Slot], assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Insert a pending materialization for each slot without one; return those inserted."""
    slots = list(slots)
    most = {name: asset_named(name, assets).max_attempts for name in {name for name, _ in slots}}
    new = {slot: (secrets.token_hex(16), *slot, most[slot[0]]) for slot in slots}
    statement = _INSERT[connection.dialect.name]
    return [
        Materialization(
            id=number,
            run_id=new[asset, partition][0],
            asset=asset,
            partition=partition,
            state=MaterializationState.PENDING,
            attempt=0,
            max_attempts=most[asset],
            requested_at=now,
            available_at=now,
        )
        for number, asset, partition in statement(connection, new=list(new.values()), now=now)
    ]


def _pending(connection: Connection, slots: Sequence[Slot]) -> dict[Slot, int]:
    if not slots:
        return {}
    found = _FIND_PENDING(connection, slots=slots)
    return {(asset, partition): number for number, asset, partition in found}
