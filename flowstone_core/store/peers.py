"""Peers: the runners that have not stopped, as another one sees them, and the end of dead ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, case, exists, or_, select, update

from flowstone_core.model.role import Role
from flowstone_core.store import runners, schema, session_lock
from flowstone_core.store.database import Database
from flowstone_core.store.owned_tables import OWNED, UNSTOPPED

_runners = schema.runners


@dataclass(frozen=True, slots=True)
class Peer:
    """A runner that has not stopped, as another one sees it.

    Attributes:
        workload: The digest of all that it is able to tick; None if it ticks nothing, or is of an
            older version.
        ticks: True if it ticks sensors and schedules.
        gone: The reason why it is taken for dead; None while it lives.
    """

    id: str
    host: str
    pid: int
    machine: str
    workload: str | None
    ticks: bool
    gone: str | None


class PeerRepository:
    """Peers; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, now: datetime) -> tuple[Peer, ...]:
        """Return the runners that have not stopped, in the order of their ids."""
        return self._database.read(peers, now)

    def retire(self, runner_ids: Collection[str], now: datetime) -> set[str]:
        """Mark runners that are gone as stopped, and release their sensors and schedules.

        Returns:
            The ids of those that had not stopped, and had not renewed their leases.
        """
        return self._database.write(_retire, runner_ids, now)

    def release_orphans(self, now: datetime) -> int:
        """Release the sensors and schedules whose owners are not alive; return their number.

        Such ones are rare: a runner claimed them after it was taken for dead.
        """
        if not self._database.read(_has_orphans, now):
            return 0
        return self._database.write(_release_orphans, now)


def peers(connection: Connection, now: datetime) -> tuple[Peer, ...]:
    """Return the runners that have not stopped."""
    shown = _runners.c.id, _runners.c.host, _runners.c.pid, _runners.c.machine, _runners.c.workload
    reason = _reason(connection, now)
    query = select(*shown, _runners.c.role, reason).where(UNSTOPPED)
    return tuple(
        Peer(number, host, pid, machine, workload, role != Role.WORKERS, gone)
        for number, host, pid, machine, workload, role, gone in connection.execute(
            query.order_by(_runners.c.id)
        )
    )


def _reason(connection: Connection, now: datetime) -> ColumnElement[str | None]:
    reasons = [(~runners.is_alive(_runners, now), "its lease has ended")]
    if connection.dialect.name != "sqlite":
        reasons.append((session_lock.lost(now), "its connection has ended"))
    return case(*reasons)


def _retire(connection: Connection, runner_ids: Collection[str], now: datetime) -> set[str]:
    gone = update(_runners).where(
        UNSTOPPED, _runners.c.id.in_(sorted(runner_ids)), _reason(connection, now).is_not(None)
    )
    # The runner witnessed no time after its lease.
    ended_at = case((_runners.c.lease_until < now, _runners.c.lease_until), else_=now)
    retired = connection.execute(gone.values(stopped_at=ended_at).returning(_runners.c.id))
    ids = set(retired.scalars())
    for owned in OWNED:
        connection.execute(update(owned).where(owned.c.owner.in_(ids)).values(owner=None))
    return ids


def _orphaned(owned: Table, now: datetime) -> ColumnElement[bool]:
    return owned.c.owner.is_not(None) & ~runners.alive(owned.c.owner, now)


def _has_orphans(connection: Connection, now: datetime) -> bool:
    found = (exists().where(_orphaned(owned, now)) for owned in OWNED)
    return bool(connection.scalar(select(or_(*found))))


def _release_orphans(connection: Connection, now: datetime) -> int:
    return sum(
        connection.execute(update(owned).where(_orphaned(owned, now)).values(owner=None)).rowcount
        for owned in OWNED
    )
