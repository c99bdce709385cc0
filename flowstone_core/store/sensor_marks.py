"""Sensor marks: what a runner writes on its sensors beside the ticks: stale, and why quiet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, update

from flowstone_core.store import schema
from flowstone_core.store.row_writes import RowUpdate

_sensors = schema.sensors


def mark_stale(connection: Connection, name: str, owner: str, since: datetime) -> bool:
    """Mark a sensor as stale; return False if the owner lost it, or it has the mark."""
    statement = update(_sensors).where(
        _sensors.c.name == name, _sensors.c.owner == owner, _sensors.c.stale_since.is_(None)
    )
    return connection.execute(statement.values(stale_since=since)).rowcount == 1


def record_quiet(
    connection: Connection, owner: str, reasons: Mapping[str, str], now: datetime
) -> None:
    """Record the reasons why polls found nothing, of the sensors that the owner still has."""
    # In one order, so that two runners cannot wait for each other.
    rows = [
        (name, owner, reason or None, now if reason else None)
        for name, reason in sorted(reasons.items())
    ]
    _RECORD_QUIET(connection, rows)


_RECORD_QUIET = RowUpdate(
    _sensors.c.name,
    {name: _sensors.c[name].type for name in ("owner", "quiet_reason", "quiet_since")},
    lambda given: {name: given[name] for name in ("quiet_reason", "quiet_since")},
    same=("owner",),
)
