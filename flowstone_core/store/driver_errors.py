"""Driver errors: classifies them as transient, lost or permanent, and names the store."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.safe_text import printable
from flowstone_core.store.postgresql_errors import Diagnosis, diagnose

# Of SQLite's primary result codes (sqlite.org/rescode.html), those that may be transient:
# BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN (such as too many open files).
_SQLITE_TRANSIENT = {5, 6, 7, 10, 13, 14}
# Those that last until an operator repairs the file: READONLY, CORRUPT, NOTADB.
_SQLITE_LOST = {8, 11, 26}
# Of IOERR's extended codes, those of the disk itself: READ, SHORT_READ, WRITE, FSYNC,
# DIR_FSYNC, TRUNCATE, FSTAT, VNODE, DATA, CORRUPTFS. The others are of locks and of memory.
_SQLITE_DISK = {266, 522, 778, 1034, 1290, 1546, 1802, 6922, 8202, 8458}
_SQLITE_HINTS = {
    5: "another process holds the lock: wait until it is released",
    13: "free some space",
    8: "make the file and its folder writable",
    10: "check the disk: see the system log",
    11: "keep the file, and restore a backup",
    26: "keep the file, and restore a backup",
}


def store_error(error: DBAPIError | sqlite3.Error, display: str) -> StoreError:
    """Return the `StoreError` for an error of a driver.

    Args:
        error: The error; the values in its statement do not show in the result.
        display: The store's URL, masked.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause, display)
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    # Any failure to connect or to answer: the server's refusals of statements have a code.
    broken = isinstance(error, OperationalError) and not getattr(cause, "sqlstate", None)
    found = diagnose(cause, lost=invalidated or broken)
    kind = StoreUnavailableError if found.transient else StoreError
    made = kind(f"the store {display}: {found.text}", hint=found.hint)
    made.__cause__ = error
    return made


def diagnosis_of(error: StoreError) -> Diagnosis | None:
    """Return the diagnosis of an error of PostgreSQL; None if the cause is another."""
    cause = error.__cause__
    if not isinstance(cause, DBAPIError) or isinstance(cause.orig, sqlite3.Error):
        return None
    return diagnose(cause.orig)


def _from_sqlite(cause: sqlite3.Error, display: str) -> StoreError:
    extended = getattr(cause, "sqlite_errorcode", 1)
    code = extended & 0xFF
    text = f"the store {display}: {printable(str(cause), 300)}"
    hint = _SQLITE_HINTS.get(code)
    if code in _SQLITE_LOST or extended in _SQLITE_DISK:
        return StoreLostError(text, hint=hint)
    kind = StoreUnavailableError if code in _SQLITE_TRANSIENT else StoreError
    return kind(text, hint=hint)
