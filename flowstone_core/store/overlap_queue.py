"""Overlap queue: the order of a schedule's materializations with ``overlap = buffer_*``.

A materialization starts when its predecessor has ended: ``after_id`` of a pending one is the last
one that its schedule requested before it. When the predecessor ends, the next one is looked up:
others may have been requested without a queue, or retried.

A predecessor has a smaller number, so a queue has no cycles, and rows are locked in the order of
their numbers. A predecessor belongs to the same asset: a materialization never queues behind one
that depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    null,
    select,
)

from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Materialization
from flowstone_core.store import schema
from flowstone_core.store.column_types import ID
from flowstone_core.store.enqueueing import is_active
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import RowUpdate

_rows = schema.materializations
_events = schema.events
_schedules = schema.schedules

PREFIX = "schedule:"
"""The prefix of the source of a schedule's events."""

HISTORY_LIMIT = 100
"""The newest events of a source that are searched for active materializations, so that the cost
does not grow with its history. An older one that an operator retried does not count."""


def active(connection: Connection, source: str, limit: int) -> int:
    """Count the active materializations that a source requested, up to a limit.

    Args:
        connection: A transaction.
        source: The source of the events.
        limit: Stop counting here.
    """
    query = _active(source).limit(limit)
    return len(connection.scalars(query).all())


def append(
    connection: Connection,
    found: Sequence[FoundEvent],
    stored: Sequence[StoredEvent],
    created: Sequence[Materialization],
) -> list[Materialization]:
    """Queue the materializations of new events behind the earlier ones of their source.

    Args:
        connection: The transaction that inserted the events.
        found: The events.
        stored: The same events, as inserted.
        created: The materializations created for the events. Other events joined pending ones,
            which keep their place.

    Returns:
        ``created``, with their predecessors.
    """
    new = {item.id: item for item in created}
    queues: dict[tuple[str, str], dict[int, int]] = {}
    for item, event in zip(found, stored, strict=True):
        if item.event.sequential and event.materialization_id is not None:
            own = queues.setdefault((event.source, event.asset), {})
            own.setdefault(event.materialization_id, event.id)
    added = {queue: sorted(own.keys() & new.keys()) for queue, own in queues.items()}
    before = _lock_predecessors(
        connection, [(*key, min(queues[key].values()), own[0]) for key, own in added.items() if own]
    )
    behind: dict[int, int] = {}
    for key, own in queues.items():
        predecessor = before.get(key)
        for number in sorted(own) if added[key] else ():
            if predecessor is not None and number in new:
                behind[number] = predecessor
            predecessor = number
    rows = [(number, each, waiting_for(each)) for number, each in behind.items()]
    _QUEUE_BEHIND(connection, rows)
    for number, _, reason in rows:
        new[number] = replace(new[number], available_at=None, waiting_for=reason)
    return list(new.values())


def _lock_predecessors(
    connection: Connection, queues: Sequence[tuple[str, str, int, int]]
) -> dict[tuple[str, str], int]:
    """Return the last active materialization that each source requested before an event.

    Each gets a shared lock: the transaction that ends the predecessor waits for this one, and
    then sees its successor.

    Args:
        connection: A transaction.
        queues: (source, asset, event, number): a predecessor was requested for this asset before
            the event, and has a smaller number.
    """
    found: dict[tuple[str, str], int] = {}
    while queues:
        numbers = [number for (number,) in FIND_PREDECESSORS(connection, queues=queues)]
        wanted = {number for number in numbers if number is not None}
        rows = LOCK_ACTIVE(connection, numbers=[(number,) for number in wanted])
        locked = {number for (number,) in rows}
        pairs = list(zip(queues, numbers, strict=True))
        found |= {queue[:2]: number for queue, number in pairs if number in locked}
        # On PostgreSQL one may end before it is locked: then there is another one, or none.
        queues = [queue for queue, number in pairs if number in wanted - locked]
    return found


def _active(
    source: str | ColumnElement[str], before: int | ColumnElement[int] | None = None
) -> Select[int]:
    newest = (
        select(_events.c.materialization_id)
        .where(_events.c.source == source)
        .order_by(_events.c.id.desc())
        .limit(HISTORY_LIMIT)
    )
    if isinstance(source, ColumnElement):
        newest = newest.correlate(source.table)
    if before is not None:
        newest = newest.where(_events.c.id < before)
    numbers = select(newest.subquery().c.materialization_id)
    return (
        select(_rows.c.id)
        # Not a plain comparison, or SQLite would read all active rows by index.
        .where(_rows.c.id.in_(numbers), is_active(_rows.c.state.concat("")))
        .order_by(_rows.c.id.desc())
    )


def waiting_for(predecessor: int) -> str:
    """Return the reason why a successor waits, for people."""
    return f"the schedule's previous run, #{predecessor}"


_QUEUES = row_set(
    "queues", source=_events.c.source.type, asset=_events.c.asset.type, event=ID, number=ID
)
FIND_PREDECESSORS = HotStatement(
    select(
        _active(_QUEUES.c.source, _QUEUES.c.event)
        .where(_rows.c.asset.concat("") == _QUEUES.c.asset, _rows.c.id < _QUEUES.c.number)
        .limit(1)
        .correlate(_QUEUES)
        .scalar_subquery()
    )
    .select_from(_QUEUES)
    .order_by(_QUEUES.c.position)
)

_NUMBERS = row_set("numbers", id=ID)
LOCK_ACTIVE = HotStatement(
    select(_rows.c.id)
    .select_from(matching(_NUMBERS, _rows))
    .where(is_active(_rows.c.state))
    .order_by(_rows.c.id)
    .with_for_update(read=True, of=_rows)
)

_QUEUE_BEHIND = RowUpdate(
    _rows.c.id,
    {name: _rows.c[name].type for name in ("after_id", "waiting_for")},
    lambda new: {
        "after_id": new["after_id"],
        "available_at": null(),
        "waiting_for": new["waiting_for"],
    },
)
