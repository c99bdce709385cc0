"""Read-only database: owns the connection, and lends it in transactions that only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowstone_db.config import DatabaseConfig
from flowstone_db.errors import DRIVER_ERRORS, DatabaseError, translate_error

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

CONNECT_TIMEOUT = 10
"""Seconds to wait for a connection to the server."""

PROGRESS_STEPS = 1_000
"""Instructions of SQLite's virtual machine between two reads of the clock."""

_EXTRA = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_NOW = {
    "postgresql": "SELECT now() AT TIME ZONE 'UTC'",
    "mysql": "SELECT utc_timestamp(6)",
    "mariadb": "SELECT utc_timestamp(6)",
}
_ALLOWED_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
}


class ReadOnlyDatabase:
    """Read-only database that lends its connection in transactions that are always rolled back.

    There is at most one connection. It is opened at first use, and again after an error or a
    time-out; a failed connection is discarded. An SQLite file is opened each time.

    Args:
        config: The settings of the connection.
        monotonic: Reads the clock, for SQLite, whose queries are stopped by this process.
    """

    def __init__(self, config: DatabaseConfig, monotonic: Callable[[], float]) -> None:
        self.url = config.database_url()
        self._timeout = config.timeout
        self._monotonic = monotonic
        self._engine: Engine | None = None

    @contextmanager
    def read_transaction(self, max_rows: int | None = None) -> Iterator[Connection]:
        """Lend the connection in a read-only transaction.

        Args:
            max_rows: Most rows that the borrower reads; None for all.

        Raises:
            DatabaseError: If any database operation fails meanwhile.
        """
        with self.connection() as connection:
            self._begin(connection, max_rows)
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend the connection without a transaction.

        Raises:
            DatabaseError: If any database operation fails meanwhile.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._engine is None:
                self._engine = self._connectable()
            with _lent(self._engine) as connection:
                try:
                    yield connection
                except (SQLAlchemyError, *DRIVER_ERRORS):
                    # A rollback could wait for the server that has just failed to respond.
                    connection.invalidate()
                    raise
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            self.close()
            raise translate_error(error, self.url) from error

    def now(self, connection: Connection, own: Callable[[], datetime]) -> datetime:
        """Return the time of the database's clock.

        Args:
            connection: The lent connection.
            own: Reads this machine's clock, which SQLite uses.
        """
        query = _NOW.get(self.url.backend)
        if query is None:
            return own()
        moment: datetime = connection.exec_driver_sql(query).scalar_one()
        return moment.replace(tzinfo=UTC)

    def close(self) -> None:
        """Close the connection; the next reading opens another."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _connectable(self) -> Engine:
        from sqlalchemy import create_engine, event

        backend = self.url.backend
        try:
            engine = create_engine(
                self.url.connect_url(),
                hide_parameters=True,
                **_options(backend, self._timeout),
            )
        except ModuleNotFoundError as error:
            extra = _EXTRA[backend]
            raise DatabaseError(
                f"the driver for {backend} is not installed: {error}",
                hint=f"pip install 'flowstone-db[{extra}]'",
            ) from error
        if backend == "sqlite":
            event.listen(engine, "connect", _confine)
        return engine

    def _begin(self, connection: Connection, max_rows: int | None) -> None:
        if self.url.backend == "sqlite":
            end = self._monotonic() + self._timeout.total_seconds()
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(lambda: self._monotonic() > end, PROGRESS_STEPS)
        maria = getattr(connection.dialect, "is_mariadb", False)
        backend = "mariadb" if maria else self.url.backend
        for statement in transaction_statements(backend, self._timeout, max_rows):
            connection.exec_driver_sql(statement)


def transaction_statements(
    backend: str, timeout: timedelta, max_rows: int | None = None
) -> tuple[str, ...]:
    """Return the statements that begin a transaction.

    Args:
        backend: The database system; MySQL and MariaDB differ in the time limit.
        timeout: The time limit of a statement.
        max_rows: See `ReadOnlyDatabase.read_transaction`; without a limit, the driver of MySQL and
            MariaDB fetches all remaining rows when it closes a result.
    """
    milliseconds = max(1, round(timeout.total_seconds() * 1_000))
    if backend == "sqlite":
        return ("BEGIN",)
    if backend == "postgresql":
        return (
            "SET TRANSACTION READ ONLY",
            # For this transaction only: behind PgBouncer the session goes to another client next.
            f"SET LOCAL statement_timeout = {milliseconds}",
            "SET LOCAL default_transaction_read_only = on",
        )
    limit = f"max_execution_time = {milliseconds}"
    if backend == "mariadb":
        limit = f"max_statement_time = {milliseconds / 1_000}"
    return (
        f"SET SESSION {limit}",
        f"SET SESSION sql_select_limit = {'DEFAULT' if max_rows is None else max_rows}",
        "SET SESSION time_zone = '+00:00'",
        "START TRANSACTION READ ONLY",
    )


@contextmanager
def _lent(engine: Engine) -> Iterator[Connection]:
    pool = engine.pool
    with engine.connect() as connection:
        yield connection
    if engine.pool is not pool:
        # The engine was closed meanwhile; a connection returned to its old pool would stay open.
        pool.dispose()


def _options(backend: str, timeout: timedelta) -> dict[str, Any]:
    from sqlalchemy.pool import NullPool, QueuePool

    if backend == "sqlite":
        # A file may be replaced, and an open connection would go on reading the old one.
        # The timeout is the wait for another process's lock.
        return {"poolclass": NullPool, "connect_args": {"timeout": timeout.total_seconds()}}
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if backend == "postgresql":
        # Detect a peer that vanished without closing within a minute.
        arguments |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        # Behind PgBouncer a prepared statement would belong to another session.
        arguments |= {"application_name": "flowstone", "prepare_threshold": None}
    else:
        arguments |= {"read_timeout": timeout.total_seconds() + CONNECT_TIMEOUT}
    return {
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": timeout.total_seconds(),
        "pool_pre_ping": True,
        "connect_args": arguments,
        "isolation_level": "READ COMMITTED",
    }


def _confine(connection: sqlite3.Connection, _: object) -> None:
    """Restrict an SQLite connection to reading, for any statement."""
    # By default Python's sqlite3 begins transactions by itself.
    connection.isolation_level = None
    connection.set_authorizer(_authorize)


def _authorize(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    if action in _ALLOWED_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and name != "load_extension":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
