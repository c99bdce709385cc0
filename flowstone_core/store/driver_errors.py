"""Driver errors: classifies them as transient, lost or permanent, and names the store."""

from __future__ import annotations

import re
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
    5: "another process holds the lock: wait until it is released",
    13: "free some space",
    8: "make the file and its folder writable",
    10: "check the disk: see the system log",
    11: "keep the file, and restore a backup",
    26: "keep the file, and restore a backup",
}
_UNREACHABLE = "is PostgreSQL running and reachable?"
# Of PostgreSQL's error classes and codes (appendix A of its manual), those that may be transient:
# the longest one that an error's code begins with has the hint.
_POSTGRESQL_TRANSIENT = {
    "08": _UNREACHABLE,  # the connection failed, or a pooler refused it
    "25006": "the server only reads: is it a standby?",
    "25P03": "the transaction took too long: wait until the server is less busy",
    "25P04": "the transaction took too long: wait until the server is less busy",
    "28": "check the user, the password and pg_hba.conf",
    "3D000": "create it with createdb, or correct its name in the store's URL",
    "40": "a concurrent transaction was in the way: wait until it has ended",
    "53": "the server lacks resources: see its log",
    "53100": "free some space on the server",
    "53300": "raise max_connections, or use a connection pooler",
    "55P03": "another session holds the lock: wait until it is released",
    "57": "the server was stopped, or ended the session: wait until it runs",
    "57014": "the statement took too long, or was cancelled: wait until the server is less busy",
    "57P03": "the server is starting up, stopping or recovering: wait until it is ready",
    "58": "see the log and the disk of the server",
}
# A server that refuses a connection sends no code that the driver passes on, only its text.
_REFUSALS = (
    (re.compile(r"the database system is \w+|recovery", re.IGNORECASE), "57P03"),
    (re.compile(r"too many (clients|connections)|connection slots", re.IGNORECASE), "53300"),
    (re.compile(r'database "[^"]*" does not exist|no such database', re.IGNORECASE), "3D000"),
    (re.compile(r"authentication failed|pg_hba\.conf|role .* does not exist"), "28"),
    (re.compile(r"no password supplied|password is required"), "28"),
)
_FATAL = re.compile(r"FATAL:\s+(.+)")
_MISCONFIGURED = ("28", "3D000")
"""Codes that a running runner waits out, as an operator may be at work, and a start does not."""
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
    text = f"the store {display}: {_message(cause)}"
    code = _code(error)
    hint = _transient_hint(code)
    lost = isinstance(error, OperationalError) and not code
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    if hint is not None or lost or invalidated:
        return StoreUnavailableError(text, hint=hint or _UNREACHABLE)
    return StoreError(text)


def is_conflict(error: StoreError) -> bool:
    """Return True if PostgreSQL rolled the transaction back because of a concurrent one."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (
        getattr(cause.orig, "sqlstate", None) in _POSTGRESQL_CONFLICTS
    )


def is_misconfigured(error: StoreError) -> bool:
    """Return True if the database or the user does not exist, or the password is wrong."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and _code(cause).startswith(_MISCONFIGURED)


def _message(cause: BaseException | None) -> str:
    """Return the server's own words, without those of the driver around them."""
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    refusal = _FATAL.search(str(cause))
    return printable(primary or (refusal[1] if refusal else str(cause)), 300).strip()


def _code(error: DBAPIError | sqlite3.Error) -> str:
    """Return the SQLSTATE of an error of PostgreSQL; empty if it is not known."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlstate", None) or ""
    if code and code != "08P01":  # a pooler sends that one for whatever it refuses
        return str(code)
    found = (code for pattern, code in _REFUSALS if pattern.search(str(cause)))
    return next(found, str(code))


def _transient_hint(code: str) -> str | None:
    """Return the hint for a code that may be transient; None for others."""
    known = [prefix for prefix in _POSTGRESQL_TRANSIENT if code.startswith(prefix)]
    return _POSTGRESQL_TRANSIENT[max(known, key=len)] if known else None


def _from_sqlite(cause: sqlite3.Error, display: str) -> StoreError:
    extended = getattr(cause, "sqlite_errorcode", 1)
    code = extended & 0xFF
    text = f"the store {display}: {printable(str(cause), 300)}"
    hint = _SQLITE_HINTS.get(code)
    if code in _SQLITE_LOST or extended in _SQLITE_DISK:
        return StoreLostError(text, hint=hint)
    kind = StoreUnavailableError if code in _SQLITE_TRANSIENT else StoreError
    return kind(text, hint=hint)
