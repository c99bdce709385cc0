"""Sensor marks: what a runner writes on its sensors beside the ticks: stale, and why quiet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, update

from flowstone_core.store import schema
from flowstone_core.store.column_types import UtcDateTime

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
    statement = (
        update(_sensors)
        .where(_sensors.c.name == bindparam("sensor"), _sensors.c.owner == owner)
        .values(quiet_reason=bindparam("reason"), quiet_since=bindparam("since", type_=UtcDateTime))
    )
    # In one order, so that two runners cannot wait for each other.
    rows = [
        {"sensor": name, "reason": reason or None, "since": now if reason else None}
        for name, reason in sorted(reasons.items())
    ]
    connection.execute(statement, rows)
