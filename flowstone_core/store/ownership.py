"""Ownership: the one rule by which runners claim and lock sensors and schedules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, Row, Table, bindparam, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from flowstone_core.model.chunking import chunks
from flowstone_core.store import runners
from flowstone_core.store.column_types import NAME
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.row_sets import matching, row_set


def is_free(owned: Table, runner_id: str, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a runner may claim a sensor or schedule.

    A row is free if it is not paused and has no owner, an owner that is not alive, or this runner
    as its owner: after a commit with an unknown outcome, a second claim reads the checkpoint.
    """
    return ~owned.c.paused & or_(
        owned.c.owner.is_(None),
        owned.c.owner == runner_id,
        ~runners.alive(owned.c.owner, now),
    )


def claim(
    connection: Connection,
    owned: Table,
    runner_id: str,
    names: Iterable[str],
    now: datetime,
    **also: object,
) -> Iterator[Row[*tuple[object, ...]]]:
    """Make a runner the owner of the free rows with these names, and yield them.

    Args:
        connection: A transaction.
        owned: The table of sensors or of schedules.
        runner_id: The runner.
        names: The names of the rows.
        now: The time at which other runners must be alive.
        also: Other columns to set, with their values.
    """
    for chunk in chunks(names):
        free = (
            select(owned)
            .where(owned.c.name.in_(chunk), is_free(owned, runner_id, now))
            .order_by(owned.c.name)
            .with_for_update(skip_locked=True)
        )
        found = connection.execute(free).all()
        taken = [row.name for row in found]
        mine = update(owned).where(owned.c.name.in_(taken))
        connection.execute(mine.values(owner=runner_id, **also))
        yield from found


def names(connection: Connection, owned: Table, owner: str) -> set[str]:
    """Return the names of the rows that the owner has."""
    return set(connection.scalars(select(owned.c.name).where(owned.c.owner == owner)))


def release(connection: Connection, owned: Table, owner: str, names: Iterable[str]) -> None:
    """Release those of the rows with these names that the owner has."""
    for chunk in chunks(names):
        mine = update(owned).where(owned.c.name.in_(chunk), owned.c.owner == owner)
        connection.execute(mine.values(owner=None))


def lock(connection: Connection, owned: Table, owner: str, names: Iterable[str]) -> dict[str, int]:
    """Lock the rows with these names that the owner has; a paused row has no owner.

    Returns:
        The versions by name.
    """
    asked = list(names)
    if not asked:
        return {}
    locked = _locking(owned)(connection, names=[(name,) for name in asked], owner=owner)
    return {asked[position - 1]: version for position, version in locked}


_NAMES = row_set("names", name=NAME)


@cache
def _locking(owned: Table) -> HotStatement[int, int]:
    return HotStatement(
        select(_NAMES.c.position, owned.c.version)
        .select_from(matching(_NAMES, owned))
        .where(owned.c.owner == bindparam("owner"))
        .order_by(owned.c.name)
        .with_for_update(of=owned)
    )
