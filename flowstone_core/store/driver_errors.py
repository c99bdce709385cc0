"""Driver errors: classifies them as transient, lost or permanent, and names the store."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.safe_text import printable

# Of SQLite's primary result codes (sqlite.org/rescode.html), those that may be transient:
# BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN (such as too many open files).
_SQLITE_TRANSIENT = {5, 6, 7, 10, 13, 14}
# Those that last until an operator repairs the file: READONLY, CORRUPT, NOTADB.
_SQLITE_LOST = {8, 11, 26}
# Of IOERR's extended codes, those of the disk itself: READ, SHORT_READ, WRITE, FSYNC,
# DIR_FSYNC, TRUNCATE, FSTAT, VNODE, DATA, CORRUPTFS. The others are of locks and of memory.
_SQLITE_DISK = {266, 522, 778, 1034, 1290, 1546, 1802, 6922, 8202, 8458}
_SQLITE_HINTS = {
    5: "another process holds the lock: retried automatically",
    13: "free some space",
    8: "make the file and its folder writable",
    10: "check the disk: see the system log",
    11: "keep the file, and restore a backup",
    26: "keep the file, and restore a backup",
}
# Of PostgreSQL's error classes and codes (appendix A of its manual), those that may be transient.
_POSTGRESQL_TRANSIENT = ("08", "53", "57", "58", "25006", "40", "55P03")
# Serialization failure, deadlock, and a unique key that a concurrent transaction inserted: a
# second attempt sees the other transaction's rows.
_POSTGRESQL_CONFLICTS = {"40001", "40P01", "23505"}


def store_error(error: DBAPIError | sqlite3.Error, display: str) -> StoreError:
    """Return the `StoreError` for an error of a driver.

    Args:
        error: The error; the values in its statement do not show in the result.
        display: The store's URL, masked.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause, display)
    code = getattr(cause, "sqlstate", None) or ""
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    text = f"the store {display}: {printable(primary or str(cause), 300).strip()}"
    lost = isinstance(error, OperationalError) and not code
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or invalidated or code.startswith(_POSTGRESQL_TRANSIENT):
        return StoreUnavailableError(text, hint="is PostgreSQL running and reachable?")
    return StoreError(text)


def is_conflict(error: StoreError) -> bool:
    """Return True if PostgreSQL rolled the transaction back because of a concurrent one."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (
        getattr(cause.orig, "sqlstate", None) in _POSTGRESQL_CONFLICTS
    )


def _from_sqlite(cause: sqlite3.Error, display: str) -> StoreError:
    extended = getattr(cause, "sqlite_errorcode", 1)
    code = extended & 0xFF
    text = f"the store {display}: {printable(str(cause), 300)}"
    hint = _SQLITE_HINTS.get(code)
    if code in _SQLITE_LOST or extended in _SQLITE_DISK:
        return StoreLostError(text, hint=hint)
    kind = StoreUnavailableError if code in _SQLITE_TRANSIENT else StoreError
    return kind(text, hint=hint)
