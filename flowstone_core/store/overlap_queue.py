"""Materializations of one schedule in line: one starts when those before it have ended.

``after_id`` of a pending materialization is the last one before it that its schedule asked for.
Whoever ends that one looks who else is before it then: others may have been asked for without a
line, or be made again.

What one stands behind has a smaller number, so a line has no cycles, and rows are locked in the
order of their numbers. It is of the same asset, lest one stand behind what depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Select, bindparam, func, select, update

from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.enqueueing import ACTIVE, of_assets
from flowstone_core.store.events import FoundEvent

_rows = schema.materializations
_events = schema.events
_schedules = schema.schedules

PREFIX = "schedule:"
"""What the source of a schedule's events begins with."""

LOOK_BACK = 100
"""Events of a source that are looked at for what has not ended: a look costs the same however
many it had. An older one that an operator has made again does not count."""


def active(connection: Connection, source: str, limit: int) -> int:
    """Count the materializations that a source asked for and that have not ended.

    Args:
        limit: Stop counting here.
    """
    query = _active(source).limit(limit)
    return len(connection.scalars(query).all())


def up(
    connection: Connection,
    found: Sequence[FoundEvent],
    stored: Sequence[StoredEvent],
    created: Sequence[Materialization],
) -> list[Materialization]:
    """Line up what new events asked for behind what their source asked for before.

    Args:
        found: The events.
        stored: The same as they were written.
        created: The materializations that were made for them; others were pending already, and
            stay where they are.

    Returns:
        ``created``, as they are now.
    """
    made = {item.id: item for item in created}
    lines: dict[tuple[str, str], dict[int, int]] = {}
    for item, event in zip(found, stored, strict=True):
        if item.event.in_line and event.materialization_id is not None:
            own = lines.setdefault((event.source, event.asset), {})
            own.setdefault(event.materialization_id, event.id)
    behind: dict[int, int] = {}
    for (source, asset), own in lines.items():
        new = sorted(own.keys() & made.keys())
        if not new:
            continue
        # Shared: whoever ends it waits, and then sees who stands behind it.
        query = _before(source, asset, min(own.values()), new[0])
        ahead = connection.scalar(query.with_for_update(read=True, of=_rows))
        for number in sorted(own):
            if ahead is not None and number in made:
                behind[number] = ahead
            ahead = number
    _stand_behind(connection, behind)
    for number, ahead in behind.items():
        made[number] = replace(made[number], available_at=None, waiting_for=_waiting_for(ahead))
    return list(made.values())


def ended(connection: Connection, item: Materialization, now: datetime) -> None:
    """Do what the end of a materialization means for the schedules that asked for it."""
    _move_up(connection, item.id, now)
    if item.state is MaterializationState.DISCARDED:
        _pause_schedules(connection, item.id)


def _move_up(connection: Connection, number: int, now: datetime) -> None:
    """Have those behind a materialization stand behind who is still before them, or start."""
    own = connection.scalar(select(_rows.c.after_id).where(_rows.c.id == number))
    if own is not None:
        connection.execute(update(_rows).where(_rows.c.id == number).values(after_id=None))
    there = schema.QUEUED, _rows.c.after_id == number
    behind = select(_rows.c.id).where(*there).order_by(_rows.c.id).limit(1)
    # Until there is none: who is cancelled meanwhile leaves the one behind it here.
    while each := connection.scalar(behind):
        ahead = _still_before(connection, each, own)
        values: dict[str, object] = {"after_id": None, "available_at": now, "waiting_for": None}
        if ahead is not None:
            values = {"after_id": ahead, "waiting_for": _waiting_for(ahead)}
        connection.execute(update(_rows).where(_rows.c.id == each, *there).values(values))


def _still_before(connection: Connection, number: int, own: int | None) -> int | None:
    """Return the last materialization that those who asked for one asked for before it.

    Args:
        own: What the one that ends stood behind itself. It needs no lock: who ends it waits for
            this transaction before it moves up who stands there.
    """
    asked = (
        select(_events.c.source, _events.c.asset, func.min(_events.c.id))
        .where(_events.c.materialization_id == number)
        .group_by(_events.c.source, _events.c.asset)
    )
    found = []
    for source, asset, event in connection.execute(asked):
        if source.startswith(PREFIX):
            query = _before(source, asset, event, number)
            ahead = connection.scalar(query)
            if ahead not in {None, own}:
                ahead = connection.scalar(query.with_for_update(read=True, of=_rows))
            found.append(ahead or 0)
    return max(found, default=0) or None


def _pause_schedules(connection: Connection, number: int) -> None:
    sources = connection.scalars(
        select(_events.c.source).where(_events.c.materialization_id == number)
    )
    names = {source.removeprefix(PREFIX) for source in sources if source.startswith(PREFIX)}
    if names:
        connection.execute(
            update(_schedules)
            .where(_schedules.c.name.in_(names), _schedules.c.pause_on_failure)
            .where(~_schedules.c.paused)
            .values(
                paused=True,
                owner=None,
                version=_schedules.c.version + 1,
                paused_because=f"materialization #{number} was discarded",
            )
        )


def _before(source: str, asset: str, event: int, number: int) -> Select[int]:
    """Select the last that a source asked for before an event, of a smaller number."""
    query = _active(source, event).where(of_assets([asset]), _rows.c.id < number)
    return query.limit(1)


def _active(source: str, before: int | None = None) -> Select[int]:
    newest = (
        select(_events.c.materialization_id)
        .where(_events.c.source == source)
        .order_by(_events.c.id.desc())
        .limit(LOOK_BACK)
    )
    if before is not None:
        newest = newest.where(_events.c.id < before)
    numbers = select(newest.subquery().c.materialization_id)
    return (
        select(_rows.c.id)
        # No plain comparison, lest SQLite look for all that has not ended by index.
        .where(_rows.c.id.in_(numbers), _rows.c.state.concat("").in_(ACTIVE))
        .order_by(_rows.c.id.desc())
    )


def _stand_behind(connection: Connection, behind: dict[int, int]) -> None:
    if not behind:
        return
    statement = (
        update(_rows)
        .where(_rows.c.id == bindparam("number"))
        .values(after_id=bindparam("ahead"), available_at=None, waiting_for=bindparam("who"))
    )
    rows = [
        {"number": number, "ahead": ahead, "who": _waiting_for(ahead)}
        for number, ahead in behind.items()
    ]
    connection.execute(statement, rows)


def _waiting_for(ahead: int) -> str:
    return f"the schedule's run before it, #{ahead}"
