"""Sensor names: what an operator does to sensors that have another name now, or are gone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, exists, select, update

from flowstone_core.errors import ConflictError
from flowstone_core.store import runners, schema

_sensors = schema.sensors


def rename(connection: Connection, old: str, new: str, now: datetime) -> None:
    """Move a sensor's row, its ticks and its events to another name."""
    for name in (old, new):
        _refuse_polled(connection, name, now)
    before, after = f"sensor:{old}", f"sensor:{new}"
    fresh = _sensors.c.name == new, _sensors.c.version == 0, _sensors.c.state.is_(None)
    connection.execute(delete(_sensors).where(*fresh))
    known = select(
        exists().where(_sensors.c.name == new)
        | exists().where(schema.events.c.source == after)
        | exists().where(schema.ticks.c.source == after)
    )
    if connection.scalar(known):
        raise ConflictError(
            f"cannot rename sensor {old!r}: {new!r} has a state or a history already",
            hint="choose another name for the declaration",
        )
    connection.execute(update(_sensors).where(_sensors.c.name == old).values(name=new, owner=None))
    for table in (schema.events, schema.ticks):
        connection.execute(update(table).where(table.c.source == before).values(source=after))


def remove(connection: Connection, name: str, now: datetime) -> None:
    """Delete a sensor's row."""
    _refuse_polled(connection, name, now)
    connection.execute(delete(_sensors).where(_sensors.c.name == name))


def _refuse_polled(connection: Connection, name: str, now: datetime) -> None:
    polled = select(_sensors.c.name).where(
        _sensors.c.name == name, runners.alive(_sensors.c.owner, now)
    )
    if connection.scalar(polled.with_for_update()) is not None:
        raise ConflictError(
            f"cannot change sensor {name!r}: a runner polls it",
            hint="stop the runner, and change the configuration first",
        )
