"""Runners: the processes that own sensors and schedules, and whether they live."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, FromClause, exists, select, update

from flowstone_core.model.engine import RunnerInfo
from flowstone_core.store import schema
from flowstone_core.store.database import insert

_runners = schema.runners


def alive(runner_id: ColumnElement[str], now: datetime) -> ColumnElement[bool]:
    """Return the condition that the runner of this id is alive."""
    living = _runners.alias("living")  # by another name: the caller may look at runners itself
    return exists().where(living.c.id == runner_id, _is_alive(living, now))


def register(connection: Connection, info: RunnerInfo) -> None:
    """Write a runner's row, or begin it anew."""
    values = asdict(info)
    statement = insert(connection, _runners).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def renew(
    connection: Connection, runner_id: str, lease_until: datetime, stuck_threads: int
) -> bool:
    """Extend a runner's lease; False if it is not known or has stopped."""
    renewed = connection.execute(
        update(_runners)
        .where(_runners.c.id == runner_id, _runners.c.stopped_at.is_(None))
        .values(lease_until=lease_until, stuck_threads=stuck_threads)
    )
    return renewed.rowcount == 1


def stop(connection: Connection, runner_id: str, now: datetime) -> None:
    """Mark a runner as stopped and free its sensors and schedules."""
    connection.execute(
        update(_runners)
        .where(_runners.c.id == runner_id, _runners.c.stopped_at.is_(None))
        .values(stopped_at=now)
    )
    for owned in (schema.sensors, schema.schedules):
        connection.execute(update(owned).where(owned.c.owner == runner_id).values(owner=None))


def find(
    connection: Connection, machine: str | None, alive_at: datetime | None
) -> list[RunnerInfo]:
    """List runners, the latest start last."""
    query = select(_runners).order_by(_runners.c.started_at, _runners.c.id)
    if machine is not None:
        query = query.where(_runners.c.machine == machine)
    if alive_at is not None:
        query = query.where(_is_alive(_runners, alive_at))
    return [RunnerInfo(**row) for row in connection.execute(query).mappings()]


def _is_alive(table: FromClause, now: datetime) -> ColumnElement[bool]:
    return table.c.stopped_at.is_(None) & (table.c.lease_until > now)
