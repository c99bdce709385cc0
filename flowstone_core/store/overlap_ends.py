"""Ends in overlap queues: start successors, and pause schedules after a failure.

See `overlap_queue` for what a predecessor is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, func, literal_column, null, select, true, union_all

from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.column_types import ID
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.overlap_queue import (
    FIND_PREDECESSORS,
    LOCK_ACTIVE,
    PREFIX,
    waiting_for,
)
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import RowUpdate

_rows = schema.materializations
_events = schema.events
_schedules = schema.schedules


def on_end(connection: Connection, items: Sequence[Materialization], now: datetime) -> None:
    """Start the successors of ended materializations, and pause schedules after failures.

    Costs one statement if nothing queues behind one of them. A queue is a chain: each of its
    links that end together costs a few statements more, however many queues there are.
    """
    _advance(connection, [(item.id,) for item in items], now)
    discarded = [(item.id,) for item in items if item.state is MaterializationState.DISCARDED]
    if discarded:
        _pause_schedules(connection, discarded)


def _advance(connection: Connection, ended: Sequence[tuple[int]], now: datetime) -> None:
    """Give the successors of materializations their next predecessor, or make them due."""
    queued = _queued(connection, ended, ended)
    own = {number: queued.pop(number) for (number,) in ended if number in queued}
    _LEAVE(connection, [(number,) for number in own])
    # Until there is none: a cancelled successor leaves its own successor here.
    while queued:
        before = _predecessors(connection, queued, set(own.values()))
        rows = [
            (number, predecessor, before[number], None, waiting_for(before[number]))
            if number in before
            else (number, predecessor, None, now, None)
            for number, predecessor in queued.items()
        ]
        _MOVE_UP(connection, rows)
        queued = _queued(connection, ended, ())


def _queued(
    connection: Connection, ended: Sequence[tuple[int]], themselves: Sequence[tuple[int]]
) -> dict[int, int]:
    """Return the successors of materializations, and themselves, with their predecessors."""
    return dict(_FIND_QUEUED(connection, numbers=ended, same=themselves))


def _predecessors(
    connection: Connection, numbers: Iterable[int], ending: Collection[int]
) -> dict[int, int]:
    """Return the last active materialization that the same sources requested before each one.

    Args:
        connection: A transaction.
        numbers: The materializations.
        ending: The predecessors of those that end. They need no lock: the transaction that ends
            one waits for this one before it advances its successors.
    """
    wanted = [(number,) for number in numbers]
    queues = [row for row in _FIND_REQUESTS(connection, numbers=wanted) if _is_schedule(row[0])]
    while True:
        found: dict[int, int] = {}
        for (*_, number), (before,) in zip(
            queues, FIND_PREDECESSORS(connection, queues=queues), strict=True
        ):
            if before is not None:
                found[number] = max(before, found.get(number, 0))
        free = [(number,) for number in set(found.values()).difference(ending)]
        # On PostgreSQL one may end before it is locked: then there is another one, or none.
        if connection.dialect.name == "sqlite" or len(free) == len(
            LOCK_ACTIVE(connection, numbers=free)
        ):
            return found


def _pause_schedules(connection: Connection, numbers: Sequence[tuple[int]]) -> None:
    because = {
        source.removeprefix(PREFIX): f"materialization #{number} was discarded"
        for source, _, _, number in _FIND_REQUESTS(connection, numbers=numbers)
        if _is_schedule(source)
    }
    _PAUSE(connection, list(because.items()))


def _is_schedule(source: str) -> bool:
    return source.startswith(PREFIX)


_FOUND = (_rows.c.id, _rows.c.after_id)
_BEHIND = row_set("numbers", after_id=ID)
_SAME = row_set("same", id=ID)
_FIND_QUEUED = HotStatement(
    union_all(
        select(*_FOUND).select_from(matching(_BEHIND, _rows)),
        select(*_FOUND).select_from(matching(_SAME, _rows)).where(_rows.c.after_id.is_not(None)),
    )
)
_LEAVE = RowUpdate(_rows.c.id, {}, lambda _: {"after_id": null()})
_MOVE_UP = RowUpdate(
    _rows.c.id,
    {
        "after_id": ID,
        "next": ID,
        **{name: _rows.c[name].type for name in ("available_at", "waiting_for")},
    },
    lambda new: {
        "after_id": new["next"],
        "available_at": new["available_at"],
        "waiting_for": new["waiting_for"],
    },
    same=["after_id"],
)
_REQUESTED_BY = row_set("numbers", materialization_id=ID)
_FIND_REQUESTS = HotStatement(
    select(
        _events.c.source,
        _events.c.asset,
        func.min(_events.c.id).label("event"),
        _events.c.materialization_id,
    )
    .select_from(matching(_REQUESTED_BY, _events))
    .group_by(_events.c.source, _events.c.asset, _events.c.materialization_id)
)
_PAUSE = RowUpdate(
    _schedules.c.name,
    {"because": _schedules.c.paused_because.type},
    lambda new: {
        "paused": true(),
        "owner": null(),
        "version": _schedules.c.version + literal_column("1"),
        "paused_because": new["because"],
    },
    where=and_(_schedules.c.pause_on_failure, ~_schedules.c.paused),
)
