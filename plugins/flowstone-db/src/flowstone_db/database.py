"""Read-only database: owns the connection, and lends it in transactions that only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowstone_core import PollContext
from flowstone_db.config import DatabaseConfig
from flowstone_db.cut_off import CutOff
from flowstone_db.driver import confine, connect_timeouts, engine_options
from flowstone_db.errors import DRIVER_ERRORS, DatabaseError, translate_error

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PROGRESS_STEPS = 1_000
"""Instructions of SQLite's virtual machine between two reads of the clock."""

_EXTRA = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_NOW = {
    "postgresql": "SELECT now() AT TIME ZONE 'UTC'",
    "mysql": "SELECT utc_timestamp(6)",
    "mariadb": "SELECT utc_timestamp(6)",
}


class ReadOnlyDatabase:
    """Read-only database that lends its connection in transactions that are always rolled back.

    There is at most one connection. It is opened at first use, and again after an error or a
    time-out; a failed connection is discarded. An SQLite file is opened each time. No operation
    outlasts the deadline of the running poll by more than a few seconds.

    Args:
        config: The settings of the connection.
        context: The context of the sensor: its clock, and the deadline of its polls.
    """

    def __init__(self, config: DatabaseConfig, context: PollContext) -> None:
        self.url = config.database_url()
        self._timeout = config.timeout
        self._context = context
        self._cut_off = CutOff()
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
            PollTimeoutError: If the deadline of the poll passes meanwhile.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._engine is None:
                self._engine = self._connectable()
            with self._cut_off.after(self._context.seconds_left()), _lent(self._engine) as lent:
                try:
                    yield lent
                except (SQLAlchemyError, TimeoutError, *DRIVER_ERRORS):
                    # A rollback could wait for the server that has just failed to respond.
                    lent.invalidate()
                    raise
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            self.close()
            # Whatever the driver says of a connection that was cut off.
            self._context.check_deadline()
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
                **engine_options(backend, self._timeout),
            )
        except ModuleNotFoundError as error:
            extra = _EXTRA[backend]
            raise DatabaseError(
                f"the driver for {backend} is not installed: {error}",
                hint=f"pip install 'flowstone-db[{extra}]'",
            ) from error
        event.listen(engine, "do_connect", self._limit_connect)
        if backend == "sqlite":
            event.listen(engine, "connect", confine)
        else:
            event.listen(engine, "connect", self._cut_off.watch)
            event.listen(engine, "close", self._cut_off.forget)
        return engine

    def _limit_connect(self, *given: Any) -> None:
        *_, arguments = given
        left = self._context.seconds_left()
        arguments.update(connect_timeouts(self.url.backend, self._timeout, left))

    def _begin(self, connection: Connection, max_rows: int | None) -> None:
        self._context.check_deadline()
        seconds = min(self._timeout.total_seconds(), self._context.seconds_left())
        if self.url.backend == "sqlite":
            monotonic = self._context.clock.monotonic
            end = monotonic() + seconds
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(lambda: monotonic() > end, PROGRESS_STEPS)
        maria = getattr(connection.dialect, "is_mariadb", False)
        backend = "mariadb" if maria else self.url.backend
        for statement in transaction_statements(backend, timedelta(seconds=seconds), max_rows):
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
