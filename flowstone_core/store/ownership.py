"""Owning: which runner ticks a sensor or a schedule, and who may take it; one rule for both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import Connection, Row, Table, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from flowstone_core.model.chunking import chunks
from flowstone_core.store import runners


def is_free(owned: Table, runner_id: str, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a runner may take what a row stands for.

    Free is what is not paused, and is owned by no runner, by one that is not alive, or by this
    one: after a commit of which nobody knows whether it was done, that is how it learns what is
    remembered.
    """
    return ~owned.c.paused & or_(
        owned.c.owner.is_(None),
        owned.c.owner == runner_id,
        ~runners.alive(owned.c.owner, now),
    )


def claim(
    connection: Connection, owned: Table, runner_id: str, names: Iterable[str], now: datetime
) -> Iterator[Row[*tuple[object, ...]]]:
    """Make a runner the owner of what is free of the names; yield the rows."""
    for chunk in chunks(names):
        free = (
            select(owned)
            .where(owned.c.name.in_(chunk), is_free(owned, runner_id, now))
            .order_by(owned.c.name)
            .with_for_update(skip_locked=True)
        )
        found = connection.execute(free).all()
        taken = [row.name for row in found]
        connection.execute(update(owned).where(owned.c.name.in_(taken)).values(owner=runner_id))
        yield from found


def lock(connection: Connection, owned: Table, owner: str, names: Iterable[str]) -> dict[str, int]:
    """Lock what is the owner's of the names, as nothing that is paused is.

    Returns:
        The versions by name.
    """
    versions: dict[str, int] = {}
    for chunk in chunks(sorted(names)):
        query = (
            select(owned.c.name, owned.c.version)
            .where(owned.c.name.in_(chunk), owned.c.owner == owner)
            .order_by(owned.c.name)
            .with_for_update()
        )
        versions.update({row.name: row.version for row in connection.execute(query)})
    return versions
