"""SQLAlchemy engines: connection pools and transactions of SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from flowstone_core.store.hot_statements import driver
from flowstone_core.store.postgresql_session import (
    answer_limit,
    begin_statement,
    connect_args,
    connection_class,
    limit_answers,
    read_any_instant,
)
from flowstone_core.store.sqlite_logs import LogFiles

if TYPE_CHECKING:
    import psycopg

BUSY_TIMEOUT = 5_000
"""How long SQLite waits for another process's transaction, in milliseconds."""

KEPT_CONNECTIONS = 5
"""Connections to PostgreSQL that a process keeps for its next transactions."""

MOST_CONNECTIONS = 10
"""Most connections of a process: its threads wait for one, as a transaction takes milliseconds."""


class ClosingPool(QueuePool):
    """Connection pool that closes what is returned to it after its end.

    A connection that is in use when its engine is disposed comes back to a pool that nobody uses:
    SQLAlchemy keeps it there, open, until it is collected as garbage.
    """

    _disposed = False

    def dispose(self) -> None:
        """See `Pool.dispose`."""
        self._disposed = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if self._disposed:
            super().dispose()


def sqlite_engine(url: URL, file: Path | None, logs: LogFiles | None) -> Engine:
    """Return an engine for an SQLite file, or for a database in memory if there is no file.

    Args:
        url: The URL, with a plain path.
        file: The file.
        logs: Told of each connection to the file.
    """
    in_memory = file is None
    if file is not None:
        # SQLite must not create a file where the store's was (sqlite.org/uri.html).
        url = url.set(database=file.as_uri()).set(query={"mode": "rw", "uri": "true"})
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=ClosingPool,
        # Each connection to a database in memory opens another database.
        pool_size=1 if in_memory else 5,
        max_overflow=0 if in_memory else 100,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT / 1_000},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        _prepare(connection, logs)

    @event.listens_for(engine, "close")
    def _closing(connection: sqlite3.Connection, _: object) -> None:
        if logs is not None:
            logs.closing(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads and then writes fails at once if another one wrote in
        # between, whatever the time-out (SQLITE_BUSY_SNAPSHOT).
        writes = connection.get_execution_options().get("flowstone_write", False)
        driver(connection).execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(connection: sqlite3.Connection, logs: LogFiles | None) -> None:
    # Python's module begins transactions implicitly; `_begin` does it explicitly.
    connection.isolation_level = None
    connection.text_factory = _text
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        if logs is not None and mode == "wal":
            connection.execute("PRAGMA schema_version").fetchone()  # opens the logs
            logs.opened(connection)
    except BaseException:
        connection.close()  # the pool drops a connection whose first use fails without closing
        raise


def _text(raw: bytes) -> str | bytes:
    """Decode a text; one that is not UTF-8 stays bytes, where an error would stop its query."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def postgresql_engine(url: URL) -> Engine:
    """Return an engine for PostgreSQL, with time-outs that a query in the URL overrides."""
    begin, limit = begin_statement(url), answer_limit(url)
    engine = create_engine(
        url,
        hide_parameters=True,
        # The driver begins no transactions: `_begin` does, with the settings, in one round trip.
        isolation_level="AUTOCOMMIT",
        poolclass=ClosingPool,
        pool_pre_ping=True,
        pool_size=KEPT_CONNECTIONS,
        max_overflow=MOST_CONNECTIONS - KEPT_CONNECTIONS,
        connect_args=connect_args(url),
    )

    @event.listens_for(engine, "do_connect")
    def _connect(
        _: object, __: object, arguments: list[str], options: dict[str, str]
    ) -> psycopg.Connection:
        return connection_class().connect(*arguments, **options)  # type: ignore[arg-type]  # libpq's

    @event.listens_for(engine, "connect")
    def _connected(connection: psycopg.Connection, _: object) -> None:
        read_any_instant(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        limit_answers(connection, limit)
        connection.exec_driver_sql(begin)

    return engine
