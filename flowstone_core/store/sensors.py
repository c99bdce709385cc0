"""Sensors: what each remembers, who owns it, and what operators did to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, Row, select, update

from flowstone_core.errors import NotFoundError, did_you_mean
from flowstone_core.model.chunking import chunks
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome
from flowstone_core.store import events, ownership, schema
from flowstone_core.store.database import insert

_sensors = schema.sensors
_MEMORY = tuple(field.name for field in fields(SensorCheckpoint))


@dataclass(frozen=True, slots=True)
class SensorRecord:
    """A sensor as the store knows it.

    Attributes:
        memory: What it remembers from one tick to the next.
        paused: Whether an operator stopped it.
        owner: The id of the runner that ticks it; None when none does.
        created_at: When the store first heard of it.
        last_tick_at: The end of its last tick that was not quiet; quiet ones write nothing.
        last_outcome: What that tick came to.
        last_good_at: The end of the last one of these that was good.
        last_error: The error of the last of these; None if it had none.
        stale_since: When its last good poll ended, if that was noticed to be too long ago.
    """

    name: str
    checkpoint: SensorCheckpoint
    paused: bool
    owner: str | None
    created_at: datetime
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    last_good_at: datetime | None = None
    last_error: str | None = None
    stale_since: datetime | None = None


def missing(connection: Connection, names: Iterable[str]) -> list[str]:
    """Return those of the names that the store has not heard of."""
    wanted = dict.fromkeys(names)
    for chunk in chunks(list(wanted)):
        query = select(_sensors.c.name).where(_sensors.c.name.in_(chunk))
        for name in connection.scalars(query):
            del wanted[name]
    return list(wanted)


def declare(connection: Connection, names: Collection[str], now: datetime) -> None:
    """Make sensors known; those that are already stay as they are."""
    new = {
        "version": 0,
        "polled": False,
        "failures": 0,
        "broken": False,
        "paused": False,
        "created_at": now,
    }
    statement = insert(connection, _sensors).on_conflict_do_nothing(index_elements=["name"])
    connection.execute(statement, [{"name": name, **new} for name in names])


def claimable(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> list[str]:
    """Return those of the names that a runner could claim."""
    return [
        name
        for chunk in chunks(names)
        for name in connection.scalars(
            select(_sensors.c.name).where(
                _sensors.c.name.in_(chunk), ownership.is_free(_sensors, runner_id, now)
            )
        )
    ]


def claim(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> dict[str, SensorCheckpoint]:
    """Make a runner the owner of those of the sensors that are free."""
    rows = ownership.claim(connection, _sensors, runner_id, names, now)
    return {row.name: memory_of(row) for row in rows}


def unowned(connection: Connection) -> set[str]:
    """Return the names of the sensors that no runner owns, paused ones among them."""
    return set(connection.scalars(select(_sensors.c.name).where(_sensors.c.owner.is_(None))))


def find(connection: Connection, names: Collection[str] | None) -> list[SensorRecord]:
    """List sensors by name; all, or those of the names that there are."""
    query = select(_sensors).order_by(_sensors.c.name)
    if names is None:
        return [_record_of(row) for row in connection.execute(query)]
    return [
        _record_of(row)
        for chunk in chunks(sorted(set(names)))
        for row in connection.execute(query.where(_sensors.c.name.in_(chunk)))
    ]


def get(connection: Connection, name: str) -> SensorRecord:
    """Return one sensor.

    Raises:
        NotFoundError: If the store has not heard of it.
    """
    row = connection.execute(select(_sensors).where(_sensors.c.name == name)).one_or_none()
    if row is None:
        raise _unknown(connection, name)
    return _record_of(row)


def set_paused(connection: Connection, name: str, *, paused: bool) -> SensorRecord:
    """Stop a sensor, or let it go on; either takes it from its runner, who thereby notices."""
    return _change(connection, name, {"paused": paused, "owner": None})


def mark_stale(connection: Connection, name: str, owner: str, since: datetime) -> bool:
    """Keep since when a sensor has had no good poll; False if there was nothing to write."""
    statement = update(_sensors).where(
        _sensors.c.name == name, _sensors.c.owner == owner, _sensors.c.stale_since.is_(None)
    )
    return connection.execute(statement.values(stale_since=since)).rowcount == 1


def reset(connection: Connection, name: str, *, forget_keys: bool) -> SensorRecord:
    """Have a sensor begin anew; either way its history is kept."""
    record = _change(
        connection,
        name,
        {
            "version": _sensors.c.version + 1,
            "state": None,
            "polled": False,
            "failures": 0,
            "not_before": None,
            "broken": False,
            "owner": None,
            "stale_since": None,
        },
    )
    if forget_keys:
        events.forget(connection, f"sensor:{name}")
    return record


def memory_of(row: Row[*tuple[object, ...]]) -> SensorCheckpoint:
    """Read what a sensor remembers from its row."""
    return SensorCheckpoint(*(getattr(row, name) for name in _MEMORY))


def _change(connection: Connection, name: str, values: dict[str, object]) -> SensorRecord:
    statement = update(_sensors).where(_sensors.c.name == name).values(values)
    if connection.execute(statement).rowcount == 0:
        raise _unknown(connection, name)
    return get(connection, name)


def _unknown(connection: Connection, name: str) -> NotFoundError:
    known = connection.scalars(select(_sensors.c.name)).all()
    hint = did_you_mean(name, known) or "the store hears of a sensor when a runner starts with it"
    return NotFoundError(f"the store knows no sensor {name!r}", hint=hint, sensor=name)


def _record_of(row: Row[*tuple[object, ...]]) -> SensorRecord:
    return SensorRecord(
        name=row.name,
        checkpoint=memory_of(row),
        paused=row.paused,
        owner=row.owner,
        created_at=row.created_at,
        last_tick_at=row.last_tick_at,
        last_outcome=None if row.last_outcome is None else TickOutcome(row.last_outcome),
        last_good_at=row.last_good_at,
        last_error=row.last_error,
        stale_since=row.stale_since,
    )
