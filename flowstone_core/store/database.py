"""The connection to SQLite or PostgreSQL: made safe, with its errors in our words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, TypeVarTuple, cast
from urllib.parse import quote_plus

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Select,
    Table,
    Text,
    and_,
    create_engine,
    event,
    make_url,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError, ValidationError
from flowstone_core.model.redaction import MASK, Redactor, looks_secret
from flowstone_core.model.safe_text import describe, printable

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

WRITE_ATTEMPTS = 4
"""How often a transaction is begun that PostgreSQL undoes for the sake of another one."""

BUSY_TIMEOUT = 5_000
"""Milliseconds that SQLite waits for another process's transaction."""

_SCHEMES = "use sqlite:///path/to/file.db or postgresql://user:password@host/database"

# Of SQLite's primary result codes (sqlite.org/rescode.html), those that may pass by themselves:
# BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN (such as too many open files).
_SQLITE_PASSING = {5, 6, 7, 10, 13, 14}
# Those that do not, before somebody repaired the file: READONLY, CORRUPT, NOTADB.
_SQLITE_LOST = {8, 11, 26}
# Of IOERR's extended codes, those that tell of the disk itself: READ, SHORT_READ, WRITE, FSYNC,
# DIR_FSYNC, TRUNCATE, FSTAT, VNODE, DATA, CORRUPTFS. The others are of locks and of memory.
_SQLITE_DISK = {266, 522, 778, 1034, 1290, 1546, 1802, 6922, 8202, 8458}
_SQLITE_HINTS = {
    5: "another process holds the database: it is tried again",
    13: "the disk is full: free some space",
    8: "make the file and its folder writable",
    10: "look in the system's log for what the disk did",
    11: "keep the file, and restore a backup",
    26: "keep the file, and restore a backup",
}
# Of PostgreSQL's error classes and codes (appendix A of its manual), those that may pass.
_POSTGRESQL_PASSING = ("08", "53", "57", "58", "25006", "40", "55P03")
# Serialization failure, deadlock, and a unique key that a concurrent transaction took: begun
# again, the transaction sees what the other one did.
_POSTGRESQL_CONFLICTS = {"40001", "40P01", "23505"}


class Database:
    """An engine and its transactions. Any thread may use it.

    Args:
        url: As `parse_url` returned it.

    Attributes:
        file: The SQLite file; None for PostgreSQL, and for a database in memory.
        on_lost: Called with each `StoreLostError`, before it is raised; in any thread.

    Raises:
        StoreError: If the database's driver is not installed.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        in_file = self.is_sqlite and url.database not in {None, "", ":memory:"}
        self.file = Path(url.database).absolute() if in_file and url.database else None
        self._identity: tuple[int, int] | None = None
        self.on_lost: Callable[[StoreLostError], None] = lambda _: None
        try:
            if self.is_sqlite:
                self._engine = _sqlite_engine(url, self.file)
            else:
                self._engine = _postgresql_engine(url)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the driver for {url.get_backend_name()} is not installed: {error}",
                hint="pip install 'flowstone-core[postgresql]'",
            ) from None
        # SQLite has one writer at a time. Threads of one process take turns here, which is
        # fair and immediate, where SQLite's own waiting is a sleep and a second look.
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()

    def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function of a connection in one transaction that only reads.

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
        """Call a function of a connection in one transaction.

        It is committed when the function returns and undone when it raises. PostgreSQL may undo
        it for the sake of a concurrent one; then the function is called again.

        Raises:
            StoreUnavailableError: If the database cannot be used at the moment. If the connection
                was lost during the commit, nobody knows whether it was done.
            StoreLostError: If the SQLite file was deleted or replaced, even during the call: what
                was written then went nowhere.
        """
        attempt = 1
        while True:
            self.check_file()
            try:
                with self.errors(), self._turn, self._writing() as connection:
                    written = function(connection, *args, **kwargs)
            except StoreError as error:
                if attempt == WRITE_ATTEMPTS or not _is_conflict(error):
                    raise
            else:
                self.check_file()
                return written
            attempt += 1

    def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        self._engine.dispose()
        self._identity = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Have the database's errors raised as ours; the values in a statement never show."""
        try:
            yield
        except PoolTimeoutError:
            raise StoreUnavailableError(
                "all connections to the store are in use", store=self.display
            ) from None
        except DBAPIError as error:
            raise self._translated(error) from error
        except sqlite3.Error as error:
            raise self._translated_sqlite(error) from error
        except StatementError as error:
            raise StoreError(
                f"a value cannot be stored: {describe(error.orig or error)}"
            ) from error

    @property
    def display(self) -> str:
        """The URL without its passwords."""
        hidden = {name: MASK for name in self.url.query if looks_secret(name)}
        shown = self.url.update_query_dict(hidden).render_as_string(hide_password=True)
        return shown.replace(quote_plus(MASK), MASK)

    def check_file(self) -> None:
        """Make sure that the SQLite file is the one that was there the first time.

        Raises:
            StoreLostError: If it is not.
        """
        # SQLite goes on without a word on a file that has no name any more: others would find
        # another one in its place, and nobody ever reads what it writes.
        if self.file is None:
            return
        try:
            found = os.stat(self.file)  # noqa: PTH116 - a quarter of what Path.stat costs
        except OSError:
            identity = None
        else:
            identity = found.st_dev, found.st_ino
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            became = "deleted or moved away" if identity is None else "replaced by another file"
            lost = StoreLostError(
                f"the store {self.display} was {became} while it was in use; nothing more is "
                "written to it",
                hint="put the file back, or start again with the one that is there now",
            )
            self.on_lost(lost)
            raise lost

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        connection = self._engine.connect().execution_options(flowstone_write=True)
        with connection, connection.begin():
            yield connection

    def _translated(self, error: DBAPIError) -> StoreError:
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            return self._translated_sqlite(cause)
        code = getattr(cause, "sqlstate", None) or ""
        primary = getattr(getattr(cause, "diag", None), "message_primary", None)
        text = f"the store {self.display}: {printable(primary or str(cause), 300).strip()}"
        lost = isinstance(error, OperationalError) and not code
        if lost or error.connection_invalidated or code.startswith(_POSTGRESQL_PASSING):
            return StoreUnavailableError(text, hint="is PostgreSQL running and reachable?")
        return StoreError(text)

    def _translated_sqlite(self, cause: sqlite3.Error) -> StoreError:
        extended = getattr(cause, "sqlite_errorcode", 1)
        code = extended & 0xFF
        text = f"the store {self.display}: {printable(str(cause), 300)}"
        hint = _SQLITE_HINTS.get(code)
        if code in _SQLITE_LOST or extended in _SQLITE_DISK:
            lost = StoreLostError(text, hint=hint)
            self.on_lost(lost)
            return lost
        kind = StoreUnavailableError if code in _SQLITE_PASSING else StoreError
        return kind(text, hint=hint)


def among(
    query: Select[*Ts], columns: Sequence[Column[str]], rows: Iterable[Sequence[str]]
) -> Select[*Ts]:
    """Restrict a query to the rows whose columns have, together, one of several values.

    A join, because SQLite finds its rows by index; those of ``(a, b) IN (...)`` it does not.
    """
    wanted = values(*(Column(item.name, Text) for item in columns), name="wanted")
    listed = wanted.data([tuple(row) for row in rows]).cte()
    return query.join(listed, and_(*(item == listed.c[item.name] for item in columns)))


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """Return an INSERT that takes ``ON CONFLICT``, in the connection's dialect."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # The two classes are one in all that is used here, and have no base with these methods.
    return cast("sqlite.Insert", postgresql.insert(table))


def parse_url(text: str) -> URL:
    """Read a store's URL.

    Raises:
        ValidationError: If it is none, or of a database that FlowStone has no store for; a
            password in it is masked.
    """
    shown = printable(Redactor()(text), 200)
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise ValidationError(f"the store's URL {shown!r} is not a URL: {_SCHEMES}") from None
    if backend == "sqlite":
        plain = url == URL.create(url.drivername, database=url.database)
        if not plain or (url.database or "").startswith("file:"):
            raise ValidationError(f"the store's URL {shown!r} is more than a path: {_SCHEMES}")
        return url.set(drivername="sqlite")
    if backend in {"postgresql", "postgres"} and url.drivername in {
        "postgres",
        "postgresql",
        "postgresql+psycopg",
    }:
        return url.set(drivername="postgresql+psycopg")
    raise ValidationError(
        f"the store's URL {shown!r} is for {url.drivername!r}, which is not supported: {_SCHEMES}"
    )


def _is_conflict(error: StoreError) -> bool:
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (
        getattr(cause.orig, "sqlstate", None) in _POSTGRESQL_CONFLICTS
    )


def _sqlite_engine(url: URL, file: Path | None) -> Engine:
    in_memory = file is None
    if file is not None:
        # SQLite must not make a file where the store's was (sqlite.org/uri.html).
        url = url.set(database=file.as_uri()).set(query={"mode": "rw", "uri": "true"})
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        # Each connection to a database in memory would be a database of its own.
        pool_size=1 if in_memory else 5,
        max_overflow=0 if in_memory else 100,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT / 1_000},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        # Python's module would begin transactions when it sees fit; `_begin` does it instead.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes then is refused at once if another one
        # wrote in between, whatever the time-out (SQLITE_BUSY_SNAPSHOT).
        writes = connection.get_execution_options().get("flowstone_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    defaults = {
        "application_name": "flowstone",
        "connect_timeout": "10",
        # A peer that is gone without a word is noticed within a minute.
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    return create_engine(
        url,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        connect_args={key: value for key, value in defaults.items() if key not in url.query},
    )
