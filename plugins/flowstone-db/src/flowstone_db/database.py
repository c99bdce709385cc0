"""A database, read and never written to; the owner of the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowstone_db.config import DatabaseConfig
from flowstone_db.errors import FOREIGN, DatabaseError, explain

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

CONNECT_TIMEOUT = 10
"""Seconds after which a server that does not answer is given up."""

STEPS = 1_000
"""Instructions of SQLite's machine between two looks at the clock."""

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


class Database:
    """Hands out a connection in a transaction that only reads, and is always rolled back.

    There is one connection at most. It is made when it is first needed, and again after an error
    or a time-out: what failed is thrown away. A file of SQLite is opened each time.

    Args:
        config: Which database.
        monotonic: Reads the clock, for SQLite, whose own process has to stop a query.
    """

    def __init__(self, config: DatabaseConfig, monotonic: Callable[[], float]) -> None:
        self.address = config.address()
        self._timeout = config.timeout
        self._monotonic = monotonic
        self._engine: Engine | None = None

    @contextmanager
    def reading(self, most: int | None = None) -> Iterator[Connection]:
        """Lend the connection.

        Args:
            most: Of how many rows the borrower makes use; None for all of them.

        Raises:
            DatabaseError: Whatever goes wrong with the database while it is lent.
        """
        with self.lending() as connection:
            self._begin(connection, most)
            yield connection

    @contextmanager
    def lending(self) -> Iterator[Connection]:
        """Lend the connection before a transaction has begun: what is done is the borrower's.

        Raises:
            DatabaseError: Whatever goes wrong with the database while it is lent.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._engine is None:
                self._engine = self._connectable()
            with _lent(self._engine) as connection:
                try:
                    yield connection
                except (SQLAlchemyError, *FOREIGN):
                    # A rollback could wait for the very server that has just not answered.
                    connection.invalidate()
                    raise
        except (SQLAlchemyError, *FOREIGN) as error:
            self.close()
            raise explain(error, self.address) from error

    def now(self, connection: Connection, own: Callable[[], datetime]) -> datetime:
        """Return the time of the database's clock.

        Args:
            connection: As it was lent.
            own: Reads this machine's clock, which is SQLite's.
        """
        query = _NOW.get(self.address.backend)
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

        backend = self.address.backend
        try:
            engine = create_engine(
                self.address.connect_url(),
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

    def _begin(self, connection: Connection, most: int | None) -> None:
        if self.address.backend == "sqlite":
            end = self._monotonic() + self._timeout.total_seconds()
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(lambda: self._monotonic() > end, STEPS)
        maria = getattr(connection.dialect, "is_mariadb", False)
        backend = "mariadb" if maria else self.address.backend
        for statement in opening(backend, self._timeout, most):
            connection.exec_driver_sql(statement)


def opening(backend: str, timeout: timedelta, most: int | None = None) -> tuple[str, ...]:
    """Return the statements that a transaction begins with.

    Args:
        backend: What the server is; MySQL and MariaDB limit a statement's time differently.
        timeout: How long a statement may take.
        most: See `Database.reading`; the driver of MySQL and MariaDB would fetch all others as
            well when it closes a result.
    """
    milliseconds = max(1, round(timeout.total_seconds() * 1_000))
    if backend == "sqlite":
        return ("BEGIN",)
    if backend == "postgresql":
        return (
            "SET TRANSACTION READ ONLY",
            # For this transaction only: behind PgBouncer the session is somebody else's next.
            f"SET LOCAL statement_timeout = {milliseconds}",
            "SET LOCAL default_transaction_read_only = on",
        )
    limit = f"max_execution_time = {milliseconds}"
    if backend == "mariadb":
        limit = f"max_statement_time = {milliseconds / 1_000}"
    return (
        f"SET SESSION {limit}",
        f"SET SESSION sql_select_limit = {'DEFAULT' if most is None else most}",
        "SET SESSION time_zone = '+00:00'",
        "START TRANSACTION READ ONLY",
    )


@contextmanager
def _lent(engine: Engine) -> Iterator[Connection]:
    pool = engine.pool
    with engine.connect() as connection:
        yield connection
    if engine.pool is not pool:
        # It was closed in the meantime, and what is given back to a pool then stays open.
        pool.dispose()


def _options(backend: str, timeout: timedelta) -> dict[str, Any]:
    from sqlalchemy.pool import NullPool, QueuePool

    if backend == "sqlite":
        # A file may be replaced by another, and a connection would go on reading the old one.
        # How long it waits is for another process's lock.
        return {"poolclass": NullPool, "connect_args": {"timeout": timeout.total_seconds()}}
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if backend == "postgresql":
        # A peer that is gone without a word is noticed within a minute.
        arguments |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        # A prepared statement would be another session's behind PgBouncer.
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
    """Make a connection to SQLite one that only reads, whatever it is told."""
    # Python's module would begin transactions when it sees fit.
    connection.isolation_level = None
    connection.set_authorizer(_authorize)


def _authorize(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    if action in _ALLOWED_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and name != "load_extension":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
