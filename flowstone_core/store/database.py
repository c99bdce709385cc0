"""Database connections: transactions on SQLite or PostgreSQL, with driver errors translated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.safe_text import describe
from flowstone_core.store.driver_errors import diagnosis_of, store_error
from flowstone_core.store.notifier import Notifier
from flowstone_core.store.sql_engines import postgresql_engine, sqlite_engine
from flowstone_core.store.sqlite_logs import LogFiles, identity
from flowstone_core.store.store_url import masked
from flowstone_core.store.wake_up import CommitListener
from flowstone_core.store.write_turn import WriteTurn

P = ParamSpec("P")
R = TypeVar("R")

WRITE_ATTEMPTS = 4
"""Attempts at a transaction that PostgreSQL rolls back because of a concurrent one."""


class Database:
    """A connection pool and its transactions, for any thread.

    Args:
        url: The URL, as `parse_url` returned it.

    Attributes:
        file: The SQLite file; None for PostgreSQL, and for a database in memory.
        on_lost: Called with each `StoreLostError` before it is raised; in any thread.

    Raises:
        StoreError: If the database's driver is not installed.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        in_file = self.is_sqlite and url.database not in {None, "", ":memory:"}
        self.file = Path(url.database).absolute() if in_file and url.database else None
        self._identity: tuple[int, int] | None = None
        self._logs = None if self.file is None else LogFiles(self.file)
        self.on_lost: Callable[[StoreLostError], None] = lambda _: None
        try:
            self._engine = (
                sqlite_engine(url, self.file, self._logs)
                if self.is_sqlite
                else postgresql_engine(url)
            )
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the driver for {url.get_backend_name()} is not installed: {error}",
                hint="pip install 'flowstone-core[postgresql]'",
            ) from None
        self._notifier = Notifier(self._engine, self.display)
        self._write_turn = WriteTurn()
        self._turn = self._write_turn if self.is_sqlite else nullcontext()

    def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function with a connection in one transaction that only reads.

        Raises:
            StoreUnavailableError: If the database cannot be used at the moment.
            StoreLostError: If the SQLite file was deleted or replaced, or is damaged.
        """
        self.check_file()
        with self.errors(), self._engine.connect() as connection, connection.begin():
            return function(connection, *args, **kwargs)

    def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function with a connection in one transaction.

        The transaction is committed when the function returns, and rolled back when it raises.
        If PostgreSQL rolls the transaction back because of a concurrent one, the function is
        called again, at most `WRITE_ATTEMPTS` times.

        Raises:
            StoreUnavailableError: If the database cannot be used at the moment. If the connection
                was lost during the commit, the outcome is unknown.
            StoreLostError: If the SQLite file was deleted or replaced before the end of the call:
                the written rows are lost.
        """
        attempt = 1
        while True:
            self.check_file()
            try:
                with self.transaction() as connection:
                    written = function(connection, *args, **kwargs)
            except StoreError as error:
                found = diagnosis_of(error)
                if attempt == WRITE_ATTEMPTS or found is None or not found.conflict:
                    raise
            else:
                self.check_file()
                return written
            attempt += 1

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in one transaction that writes, committed at the end of the context.

        Unlike `write` it is not repeated, nor is the SQLite file checked.

        Raises:
            StoreUnavailableError: As for `write`.
        """
        with self.errors(), self._turn:
            connection = self._engine.connect().execution_options(flowstone_write=True)
            with connection, connection.begin():
                yield connection

    def write_and_notify(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function as `write` does; then wake the runners of other processes.

        Raises:
            StoreUnavailableError: As for `write`.
            StoreLostError: As for `write`.
        """
        written = self.write(function, *args, **kwargs)
        self.notify()
        return written

    def notify(self) -> None:
        """Wake the runners of other processes, after a commit that made something available.

        Never raises: a runner that is not woken looks once a second.
        """
        self._notifier.notify()

    def listen(self, assets: AssetGraph) -> CommitListener | None:
        """Return a listener for commits; None for a database in memory, which has no others.

        Args:
            assets: The assets whose materializations may start.

        Raises:
            StoreUnavailableError: If the database cannot be used at the moment.
            StoreLostError: As for `read`.
        """
        if self.is_sqlite and self.file is None:
            return None
        self.check_file()
        with self.errors():
            return self._notifier.listen(assets, self.errors, self._write_turn, self.file)

    def connect(self) -> Connection:
        """Return a connection for the caller alone, to be closed by the caller.

        Raises:
            StoreUnavailableError: If the database cannot be used at the moment.
        """
        with self.errors():
            return self._engine.connect()

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._notifier.close()
        self._engine.dispose()
        self._identity = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise driver errors as store errors, without the values of the statement."""
        try:
            yield
        except PoolTimeoutError:
            raise StoreUnavailableError(
                f"the store {self.display}: no free connection: all of this process are in use",
                hint="is the database slow? see pg_stat_activity",
            ) from None
        except (DBAPIError, sqlite3.Error) as error:
            translated = store_error(error, self.display)
            if isinstance(translated, StoreLostError):
                self.on_lost(translated)
            found = diagnosis_of(translated)
            if found is not None and found.read_only:
                # After a failover another server takes writes: the next call connects anew.
                self._engine.dispose()
            raise translated from error
        except StatementError as error:
            raise StoreError(f"cannot store a value: {describe(error.orig or error)}") from error

    @property
    def display(self) -> str:
        """The URL with its passwords masked."""
        return masked(self.url)

    def check_file(self) -> None:
        """Check that the SQLite file and its logs are those that were opened first.

        Raises:
            StoreLostError: If one of them was deleted or replaced.
        """
        # SQLite keeps using a deleted file without an error: other processes would create a new
        # file in its place, and no process would read the rows written to the old one.
        if self.file is None or self._logs is None:
            return
        found = identity(self.file)
        if self._identity is None:
            self._identity = found
        if found != self._identity:
            self._lose(
                f"the store {self.display} was {_fate(found)} while in use",
                hint="put the file back, or restart with the file that is there now",
            )
        log = self._logs.lost()
        if log is not None:
            self._lose(
                f"the log {log} of the store was {_fate(identity(log))} while in use",
                hint="restart, and check it with 'flowstone db check': never delete a log in use",
            )

    def _lose(self, what: str, *, hint: str) -> NoReturn:
        lost = StoreLostError(f"{what}; nothing more is written to it", hint=hint)
        self.on_lost(lost)
        raise lost


def _fate(found: tuple[int, int] | None) -> str:
    return "deleted or moved away" if found is None else "replaced by another file"
