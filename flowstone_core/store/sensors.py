"""Sensors: their checkpoints, owners, and changes by operators."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, select, update

from flowstone_core.errors import NotFoundError, did_you_mean
from flowstone_core.model.chunking import chunks
from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.store import events, ownership, schema, sensor_marks, sensor_names
from flowstone_core.store.database import Database
from flowstone_core.store.readable_rows import pairs, read, read_one
from flowstone_core.store.sensor_records import SensorRecord, checkpoint_of, record_of
from flowstone_core.store.statements import insert

_sensors = schema.sensors


class SensorRepository:
    """Sensors, their checkpoints and owners; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(self, names: Iterable[str], now: datetime) -> None:
        """Insert the sensors that are not in the store yet; write nothing if all of them are."""
        missing = self._database.read(_missing, names)
        if missing:
            self._database.write(_declare, missing, now)

    def claim(
        self, runner_id: str, names: Iterable[str], now: datetime
    ) -> dict[str, SensorCheckpoint]:
        """Make a runner the owner of the given sensors that are free.

        A sensor is free if it is not paused and has no owner, an owner that is not alive, or
        this runner as its owner. Writes nothing if none is free.

        Returns:
            The checkpoints of the claimed sensors, by name.
        """
        free = self._database.read(_claimable, runner_id, names, now)
        return self._database.write(_claim, runner_id, free, now) if free else {}

    def release(self, runner_id: str, names: Iterable[str]) -> None:
        """Release those of the given sensors that a runner owns."""
        self._database.write(ownership.release, _sensors, runner_id, names)

    def owned(self, runner_id: str) -> set[str]:
        """Return the names of the sensors that a runner owns."""
        return self._database.read(ownership.names, _sensors, runner_id)

    def all(self, names: Collection[str] | None = None) -> list[SensorRecord]:
        """List sensors by name.

        Args:
            names: Only these sensors; unknown names are left out.
        """
        return self._database.read(_all, names)

    def get(self, name: str) -> SensorRecord:
        """Return one sensor.

        Raises:
            NotFoundError: If the sensor is not in the store.
        """
        return self._database.read(_get, name)

    def pause(self, name: str) -> SensorRecord:
        """Pause a sensor; the next commit of its runner is refused.

        Raises:
            NotFoundError: If the sensor is not in the store.
        """
        return self._database.write_and_notify(_set_paused, name, paused=True)

    def resume(self, name: str) -> SensorRecord:
        """Resume a paused sensor from its checkpoint.

        Raises:
            NotFoundError: If the sensor is not in the store.
        """
        return self._database.write_and_notify(_set_paused, name, paused=False)

    def mark_stale(self, name: str, owner: str, since: datetime) -> bool:
        """Record since when a sensor has had no good poll; its next good poll clears the mark.

        Returns:
            False if the owner has lost the sensor, or the sensor is marked already; nothing was
            written.
        """
        return self._database.write(sensor_marks.mark_stale, name, owner, since)

    def record_quiet(self, owner: str, reasons: Mapping[str, str], now: datetime) -> None:
        """Record the reasons why polls found nothing, of the sensors that the owner still has.

        Args:
            owner: The runner that owns the sensors.
            reasons: The reasons by sensor; empty for none.
            now: The time of the record.
        """
        self._database.write(sensor_marks.record_quiet, owner, reasons, now)

    def reset(self, name: str, *, forget_keys: bool = False) -> SensorRecord:
        """Reset a sensor to its initial state; its history is kept.

        Args:
            name: The sensor.
            forget_keys: Let the sensor use the keys of its past events again.

        Raises:
            NotFoundError: If the sensor is not in the store.
        """
        return self._database.write_and_notify(_reset, name, forget_keys=forget_keys)

    def rename(self, old: str, new: str, now: datetime) -> None:
        """Give a sensor another name, with its state, its ticks, and the keys of its events.

        Raises:
            NotFoundError: If no sensor of the old name is in the store.
            ConflictError: If a runner polls one of the two, or the new name has a history.
        """
        self.get(old)
        self._database.write(sensor_names.rename, old, new, now)

    def remove(self, name: str, now: datetime) -> None:
        """Remove a sensor with its state; its history, and the keys of its events, are kept.

        Raises:
            NotFoundError: If the sensor is not in the store.
            ConflictError: If a runner polls it.
        """
        self.get(name)
        self._database.write(sensor_names.remove, name, now)


def _missing(connection: Connection, names: Iterable[str]) -> list[str]:
    wanted = dict.fromkeys(names)
    for chunk in chunks(list(wanted)):
        query = select(_sensors.c.name).where(_sensors.c.name.in_(chunk))
        for name in connection.scalars(query):
            del wanted[name]
    return list(wanted)


def _declare(connection: Connection, names: Collection[str], now: datetime) -> None:
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


def _claimable(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> list[str]:
    return [
        name
        for chunk in chunks(names)
        for name in connection.scalars(
            select(_sensors.c.name).where(
                _sensors.c.name.in_(chunk), ownership.is_free(_sensors, runner_id, now)
            )
        )
    ]


def _claim(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> dict[str, SensorCheckpoint]:
    # The reason is of another runner's polls; this one records its own.
    unknown = {"quiet_reason": None, "quiet_since": None}
    rows = ownership.claim(connection, _sensors, runner_id, names, now, **unknown)
    return {row.name: found for row, found in pairs(rows, _sensors, checkpoint_of)}


def _all(connection: Connection, names: Collection[str] | None) -> list[SensorRecord]:
    query = select(_sensors).order_by(_sensors.c.name)
    if names is None:
        return read(connection.execute(query), _sensors, record_of)
    return [
        record
        for chunk in chunks(sorted(set(names)))
        for record in read(
            connection.execute(query.where(_sensors.c.name.in_(chunk))), _sensors, record_of
        )
    ]


def _get(connection: Connection, name: str) -> SensorRecord:
    row = connection.execute(select(_sensors).where(_sensors.c.name == name)).one_or_none()
    if row is None:
        raise _unknown(connection, name)
    return read_one(row, _sensors, record_of)


def _set_paused(connection: Connection, name: str, *, paused: bool) -> SensorRecord:
    return _change(connection, name, {"paused": paused, "owner": None})


def _reset(connection: Connection, name: str, *, forget_keys: bool) -> SensorRecord:
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
            "quiet_reason": None,
            "quiet_since": None,
        },
    )
    if forget_keys:
        events.forget(connection, f"sensor:{name}")
    return record


def _change(connection: Connection, name: str, values: dict[str, object]) -> SensorRecord:
    statement = update(_sensors).where(_sensors.c.name == name).values(values)
    if connection.execute(statement).rowcount == 0:
        raise _unknown(connection, name)
    return _get(connection, name)


def _unknown(connection: Connection, name: str) -> NotFoundError:
    known = connection.scalars(select(_sensors.c.name)).all()
    hint = did_you_mean(name, known) or "a sensor is stored when a runner starts with it"
    return NotFoundError(f"unknown sensor {name!r}", hint=hint, sensor=name)
