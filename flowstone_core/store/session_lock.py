"""Session lock: an advisory lock that ends with its process, seconds before a lease would.

PostgreSQL releases the lock of a session when its connection ends: at once if the process was
killed. Behind a pooler that lends its connections the sessions are not those of the processes, so
a lock would say nothing; such a pooler is noticed, and leases alone count.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, text

from flowstone_core.errors import StoreError
from flowstone_core.store.column_types import UtcDateTime
from flowstone_core.store.database import Database

if TYPE_CHECKING:
    import psycopg

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("flowstone.session_lock")

SPACE = 70
"""First key of FlowStone's advisory locks; the second one names the runner."""

# A runner is silent if it did not renew its lease for a fourth of it: a beat is overdue. After a
# start of the server a missing lock says nothing, because all of them were released.
_LOST = """
flowstone_runners.lock_key IS NOT NULL
AND flowstone_runners.beat_at
    + (flowstone_runners.lease_until - flowstone_runners.beat_at) / 4 < :now
AND pg_postmaster_start_time() < clock_timestamp() - interval '5 s'
AND NOT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND classid = :space AND objid = CAST(lock_key AS oid)
    AND objsubid = 2 AND granted
)
"""


class SessionLock:
    """Session of a runner: a connection that holds the runner's lock; for one thread.

    Args:
        database: A database of PostgreSQL.
        runner_id: The runner.

    Attributes:
        key: The second key of the lock; None while it is not held.
    """

    def __init__(self, database: Database, runner_id: str) -> None:
        self._database = database
        self._number = zlib.crc32(runner_id.encode()) & 0x7FFFFFFF
        self._connection: Connection | None = None
        self._told = False
        self.key: int | None = None

    def open(self) -> None:
        """Connect and lock, unless that is done.

        Raises:
            StoreError: If the database cannot be used.
        """
        if self._connection is None:
            self._connection = self._database.connect()
            try:
                self._run(self._lock)
            except BaseException:
                self.close()
                raise

    def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function in one transaction of the session, as `Database.write` does.

        If the connection was lost, the function is called once more with another one.

        Raises:
            StoreError: As for `Database.write`.
        """
        is_new = self._connection is None
        self.open()
        try:
            return self._run(function, *args, **kwargs)
        except StoreError:
            self.close()
            if is_new:
                raise
        self.open()
        try:
            return self._run(function, *args, **kwargs)
        except StoreError:
            self.close()
            raise

    def lives(self) -> bool:
        """Return True if the connection still answers; a lost one is closed."""
        if self._connection is None:
            return False
        try:
            self._run(_ask)
        except StoreError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the connection; the lock is released."""
        held, self._connection, self.key = self._connection, None, None
        if held is not None:
            with suppress(Exception):  # it is broken, perhaps
                held.invalidate()
            with suppress(Exception):
                held.close()

    def _run(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        held = self._connection
        assert held is not None  # noqa: S101 - for mypy
        with self._database.errors(), held.begin():
            return function(held, *args, **kwargs)

    def _lock(self, connection: Connection) -> None:
        raw: psycopg.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]  # psycopg's
        session = connection.scalar(select(func.pg_backend_pid()))
        # A pooler answers a client with an id that it made up.
        if session == raw.info.backend_pid:
            if connection.scalar(select(func.pg_try_advisory_lock(SPACE, self._number))):
                self.key = self._number
        elif not self._told:
            self._told = True
            logger.info(
                "no session lock behind a pooler: a runner that dies is noticed by its lease"
            )


def lost(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a runner is silent and its session has ended; on PostgreSQL."""
    condition = text(f"({_LOST})").bindparams(
        bindparam("now", now, UtcDateTime), bindparam("space", SPACE)
    )
    return cast("ColumnElement[bool]", condition)  # wherever a condition may stand


def _ask(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")
