"""Materializations of one schedule in line: one starts when the one before it has ended.

``after_id`` of a pending materialization is the one that has to end first. It is smaller than its
own number, so a line has no cycles, and rows are locked in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Select, select, update

from flowstone_core.event import StoredEvent
from flowstone_core.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.requests import ACTIVE

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
    before: dict[str, int | None] = {}
    own: dict[str, set[int]] = {}
    for item, event in zip(found, stored, strict=True):
        if item.event.in_line and event.materialization_id is not None:
            own.setdefault(item.source, set()).add(event.materialization_id)
    for item, event in zip(found, stored, strict=True):
        number = event.materialization_id
        if not item.event.in_line or number is None:
            continue
        if item.source not in before:
            query = _active(item.source).where(_rows.c.id.not_in(own[item.source]))
            # Shared: whoever ends it waits, and then sees who stands behind it.
            query = query.with_for_update(read=True, of=_rows)
            before[item.source] = max(connection.scalars(query).all(), default=None)
        ahead = before[item.source]
        if ahead is not None and number in made and ahead < number:
            made[number] = _stand_behind(connection, made[number], ahead)
        before[item.source] = number
    return list(made.values())


def ended(connection: Connection, item: Materialization, now: datetime) -> None:
    """Do what the end of a materialization means for the schedules that asked for it."""
    _move_up(connection, item.id, now)
    if item.state is MaterializationState.DISCARDED:
        _pause_schedules(connection, item.id)


def _move_up(connection: Connection, number: int, now: datetime) -> None:
    """Have what stands behind a materialization take its place; or start, if that was the first."""
    ahead = connection.scalar(select(_rows.c.after_id).where(_rows.c.id == number))
    if ahead is not None:
        # Shared: if it is just ending, whoever ends it would not see who stands behind it now.
        still = select(_rows.c.id).where(_rows.c.id == ahead, _rows.c.state.in_(ACTIVE))
        ahead = connection.scalar(still.with_for_update(read=True))
        own = update(_rows).where(_rows.c.id == number)
        connection.execute(own.values(after_id=None))
    behind = update(_rows).where(schema.IN_LINE, _rows.c.after_id == number)
    if ahead is None:
        connection.execute(behind.values(after_id=None, available_at=now, waiting_for=None))
    else:
        connection.execute(behind.values(after_id=ahead, waiting_for=_waiting_for(ahead)))


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


def _active(source: str) -> Select[int]:
    newest = (
        select(_events.c.materialization_id)
        .where(_events.c.source == source)
        .order_by(_events.c.id.desc())
        .limit(LOOK_BACK)
        .subquery()
    )
    return (
        select(_rows.c.id)
        .where(_rows.c.id.in_(select(newest.c.materialization_id)), _rows.c.state.in_(ACTIVE))
        .order_by(_rows.c.id.desc())
    )


def _stand_behind(connection: Connection, item: Materialization, ahead: int) -> Materialization:
    waiting_for = _waiting_for(ahead)
    connection.execute(
        update(_rows)
        .where(_rows.c.id == item.id)
        .values(after_id=ahead, available_at=None, waiting_for=waiting_for)
    )
    return replace(item, available_at=None, waiting_for=waiting_for)


def _waiting_for(ahead: int) -> str:
    return f"the schedule's run before it, #{ahead}"
