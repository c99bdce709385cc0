"""Runners: the processes that own sensors and schedules, and the leases they renew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    exists,
    func,
    select,
    update,
)

from flowstone_core.model.engine import RunnerCondition, RunnerInfo
from flowstone_core.model.witnessed_time import Period
from flowstone_core.store import schema
from flowstone_core.store.database import Database
from flowstone_core.store.owned_tables import OWNED
from flowstone_core.store.readable_rows import read
from flowstone_core.store.session_lock import SessionLock
from flowstone_core.store.statements import insert

_runners = schema.runners
_INFO = [_runners.c[each.name] for each in fields(RunnerInfo)]
PERIODS = 1_000
"""Runners whose periods are read: for what is older, the clock is trusted."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Beat:
    """Answer of the store to a heartbeat.

    Attributes:
        answered_at: The time of the database; None for SQLite, which has none but the machine's.
    """

    answered_at: datetime | None = None


class RunnerRepository:
    """Runners and their leases; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, info: RunnerInfo, loaded: str | None = None, workload: str | None = None
    ) -> None:
        """Insert a runner, or replace the row of one whose lease expired.

        Args:
            info: The runner.
            loaded: The settings that it has loaded, as JSON.
            workload: The digest of all that it is able to tick.
        """
        self._database.write(_register, info, loaded, workload)

    def beat(
        self,
        runner_id: str,
        now: datetime,
        lease: timedelta,
        condition: RunnerCondition | None = None,
        lock: SessionLock | None = None,
    ) -> Beat | None:
        """Renew a runner's lease, and store its condition; one statement.

        Args:
            runner_id: The runner.
            now: The current time.
            lease: How long the renewal is valid.
            condition: The runner's condition.
            lock: The runner's session lock: its connection is used, and the lock is held then.

        Returns:
            None if the runner is unknown, was taken for dead or has stopped, or its lease has
            ended; nothing was written.
        """
        condition = condition or RunnerCondition()
        write = self._database.write if lock is None else lock.write
        return write(_beat, runner_id, now, lease, condition, lock)

    def loaded_by(self, runner_ids: Collection[str]) -> dict[str, str]:
        """Return the settings that the given runners have loaded, as JSON, by runner id."""
        return self._database.read(_loaded, _runners.c.id.in_(sorted(runner_ids)))

    def loaded(self, alive_at: datetime) -> dict[str, str]:
        """Return the settings that the living runners have loaded, as JSON, by runner id."""
        return self._database.read(_loaded, is_alive(_runners, alive_at))

    def stop(self, runner_id: str, now: datetime) -> None:
        """Mark a runner as stopped and release its sensors and schedules."""
        self._database.write_and_notify(_stop, runner_id, now)

    def all(self, machine: str | None = None, alive_at: datetime | None = None) -> list[RunnerInfo]:
        """List runners in the order of their starts.

        Args:
            machine: Only the runners on this machine.
            alive_at: Only the runners that are alive at this instant.
        """
        return self._database.read(_all, machine, alive_at)

    def periods(self) -> dict[str, Period]:
        """Return when the latest runners ran, each by its own clock, by their ids."""
        return self._database.read(_periods)


def alive(runner_id: ColumnElement[str], now: datetime) -> ColumnElement[bool]:
    """Return the condition that the runner with this id is alive."""
    living = _runners.alias("living")  # under another name: the caller may select from runners
    return exists().where(living.c.id == runner_id, is_alive(living, now))


def living(connection: Connection, now: datetime) -> list[RunnerInfo]:
    """Return the runners that are alive, in the order of their starts."""
    return _all(connection, None, now)


def _register(
    connection: Connection, info: RunnerInfo, loaded: str | None, workload: str | None
) -> None:
    values = {**asdict(info), "loaded": loaded, "workload": workload}
    statement = insert(connection, _runners).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def _beat(
    connection: Connection,
    runner_id: str,
    now: datetime,
    lease: timedelta,
    condition: RunnerCondition,
    lock: SessionLock | None,
) -> Beat | None:
    held = {"lock_key": None if lock is None else lock.key}
    renewed = (
        update(_runners)
        .where(_runners.c.id == runner_id, is_alive(_runners, now))
        .values(lease_until=now + lease, beat_at=now, **held, **asdict(condition))
    )
    if connection.dialect.name == "sqlite":
        return Beat() if connection.execute(renewed).rowcount else None
    answer = connection.execute(renewed.returning(func.clock_timestamp())).one_or_none()
    return None if answer is None else Beat(answer[0].astimezone(UTC))


def _stop(connection: Connection, runner_id: str, now: datetime) -> None:
    connection.execute(
        update(_runners)
        .where(_runners.c.id == runner_id, _runners.c.stopped_at.is_(None))
        .values(stopped_at=now)
    )
    for owned in OWNED:
        connection.execute(update(owned).where(owned.c.owner == runner_id).values(owner=None))


def _all(
    connection: Connection, machine: str | None, alive_at: datetime | None
) -> list[RunnerInfo]:
    query = select(*_INFO).order_by(_runners.c.started_at, _runners.c.id)
    if machine is not None:
        query = query.where(_runners.c.machine == machine)
    if alive_at is not None:
        query = query.where(is_alive(_runners, alive_at))
    return read(connection.execute(query), _runners, _info_of)


def _periods(connection: Connection) -> dict[str, Period]:
    query = select(*_INFO).order_by(_runners.c.started_at.desc()).limit(PERIODS)
    return {
        info.id: Period(info.started_at, info.stopped_at or info.lease_until)
        for info in read(connection.execute(query), _runners, _info_of)
    }


def _info_of(row: Row[*tuple[object, ...]]) -> RunnerInfo:
    return RunnerInfo(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _loaded(connection: Connection, condition: ColumnElement[bool]) -> dict[str, str]:
    query = select(_runners.c.id, _runners.c.loaded).where(
        condition, _runners.c.loaded.is_not(None)
    )
    return {row.id: row.loaded for row in connection.execute(query)}


def is_alive(table: FromClause, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a row of runners is of one that is alive."""
    # A lease that is not an instant sorts behind all of them, and would never expire.
    held = (table.c.lease_until > now) & (table.c.lease_until <= _NEVER)
    return table.c.stopped_at.is_(None) & held
