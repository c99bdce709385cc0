"""Errors of the database plugin, and the tables that translate driver errors into them.

`translate_error` returns an error that names the failure, the URL and the remedy. Only the text of
the driver is quoted, truncated and with the URL's secrets masked; neither the statement nor its
parameters are.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from flowstone_core import FlowstoneError
from flowstone_db.url import DatabaseUrl

_QUOTED = 500
# Psycopg's words for a date or timestamp that Python cannot hold.
_FAR = re.compile(r"too (large|small) \((after year 10K|before year 1)\)")


class DatabaseError(FlowstoneError):
    """A poll of the database failed; the state is unchanged, and the next poll tries again."""


class DatabaseUnavailableError(DatabaseError):
    """The database is unreachable, locked, or out of connections at the moment."""

    retryable = True


class AccessError(DatabaseError):
    """The login failed, or lacks the right to read."""


class QueryTimeoutError(DatabaseError, TimeoutError):
    """A statement ran longer than ``timeout`` and was cancelled."""

    retryable = True


class QueryError(DatabaseError):
    """The query is invalid, does more than read, or returns an unusable result."""


class CursorError(DatabaseError):
    """The columns of the key cannot tell which rows are new."""


class PartitionError(FlowstoneError):
    """A row or value has no partition."""


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[DatabaseError]
    message: str
    hint: str


_UNREACHABLE = _Kind(
    DatabaseUnavailableError, "the database cannot be reached", "check url and password"
)
_PASSING = _Kind(DatabaseUnavailableError, "the database is temporarily unavailable", "polls go on")
_LOGIN = _Kind(AccessError, "login failed", "check the user and the password")
_DENIED = _Kind(AccessError, "permission denied", "grant the user the right to read, no other")
_MISSING = _Kind(DatabaseError, "database not found", "check url")
_TIMEOUT = _Kind(
    QueryTimeoutError,
    "the query took too long and was cancelled",
    "add an index, select less, or raise timeout and the sensor's deadline",
)
_WRITES = _Kind(QueryError, "the query does more than read", "only reading is allowed")
_WRONG = _Kind(QueryError, "the query failed", "try it in the database's own shell")
_UNKNOWN_NAME = _Kind(
    QueryError,
    "the query failed",
    "check the names in the settings and in query; capitals count, and PostgreSQL stores a name "
    "written without quotes in small letters: set id_column = id for a column created as Id",
)
_UNKNOWN_ELSEWHERE = _Kind(
    QueryError, "the query failed", "check the names in the settings and in query"
)
_FAR_TIME = _Kind(
    QueryError,
    "the query failed",
    "a time is infinite, or outside of the years 1 to 9999: leave such rows out with a query "
    "(WHERE isfinite(at)), or give them another value (nullif(at, 'infinity'))",
)
_NO_FILE = _Kind(
    DatabaseUnavailableError,
    "the file cannot be opened for reading",
    "check that the file exists and is readable; a file in WAL mode needs a writable folder, or "
    "its -wal and -shm files",
)
_CORRUPT = _Kind(
    DatabaseError, "the file is not an SQLite database, or is damaged", "restore a backup"
)

# By SQLSTATE (appendix A of PostgreSQL's manual); the longest match counts.
_POSTGRESQL = {
    "08": _UNREACHABLE,
    "25006": _WRITES,
    "28": _LOGIN,
    "3D000": _MISSING,
    "40": _PASSING,
    "42501": _DENIED,
    "42703": _UNKNOWN_NAME,
    "42P01": _UNKNOWN_NAME,
    "53": _PASSING,
    "55P03": _PASSING,
    "57": _PASSING,
    "57014": _TIMEOUT,
    "58": _PASSING,
}
# By primary result code.
_SQLITE = {
    5: _PASSING,
    6: _PASSING,
    8: _WRITES,
    9: _TIMEOUT,
    10: _PASSING,
    11: _CORRUPT,
    14: _NO_FILE,
    23: _WRITES,
    26: _CORRUPT,
}
# By number; MariaDB has the same numbers except for the time-out.
_MYSQL = {
    1040: _PASSING,
    1044: _DENIED,
    1045: _LOGIN,
    1049: _MISSING,
    1054: _UNKNOWN_ELSEWHERE,
    1142: _DENIED,
    1143: _DENIED,
    1146: _UNKNOWN_ELSEWHERE,
    1205: _PASSING,
    1213: _PASSING,
    1792: _WRITES,
    1969: _TIMEOUT,
    2002: _UNREACHABLE,
    2003: _UNREACHABLE,
    2006: _PASSING,
    2013: _PASSING,
    3024: _TIMEOUT,
}


def translate_error(error: Exception, url: DatabaseUrl) -> DatabaseError:
    """Return the error to raise instead of one of SQLAlchemy or its driver.

    Args:
        error: The raised error.
        url: The URL of the database.
    """
    cause = getattr(error, "orig", None) or error
    kind = _kind(cause, url)
    text = url.mask(" ".join(str(cause).split()))[:_QUOTED]
    return kind.error(f"{kind.message}: {text}: {url}", hint=kind.hint)


def _kind(cause: BaseException, url: DatabaseUrl) -> _Kind:
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    if isinstance(cause, PoolTimeoutError):
        return _PASSING
    if url.backend == "sqlite":
        code = getattr(cause, "sqlite_errorcode", None)
        if str(cause).startswith(("no such column", "no such table")):
            return _UNKNOWN_ELSEWHERE
        return _SQLITE.get(code & 0xFF, _WRONG) if isinstance(code, int) else _WRONG
    if url.backend == "postgresql":
        return _postgresql_kind(cause)
    number = cause.args[0] if cause.args else None
    return _MYSQL.get(number, _WRONG) if isinstance(number, int) else _WRONG


def _postgresql_kind(cause: BaseException) -> _Kind:
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or _WRONG
    if _FAR.search(str(cause)):
        return _FAR_TIME
    # An error before there is a connection, or that ends it, has no SQLSTATE.
    if type(cause).__name__ == "OperationalError":
        return _UNREACHABLE
    return _WRONG


DRIVER_ERRORS = (sqlite3.Warning,)
"""Exceptions of drivers outside SQLAlchemy's: sqlite3 before Python 3.12, for two statements."""
