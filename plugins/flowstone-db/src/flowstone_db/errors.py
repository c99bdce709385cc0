"""What can go wrong with a database, said so that a person knows what to do.

`explain` turns the errors of SQLAlchemy and of the drivers into ours: what was wrong, where, what
to do. Of the driver only its own text is quoted, cut and with the URL's secrets masked; neither
the statement nor its parameters are.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from flowstone_core import FlowstoneError
from flowstone_db.url import Address

_QUOTED = 500


class DatabaseError(FlowstoneError):
    """A poll of the database failed; nothing of it was kept, and the next poll tries again."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, is locked, or has no connection to spare at the moment."""

    retryable = True


class AccessError(DatabaseError):
    """The login is refused, or may not read what the query reads."""


class QueryTimeoutError(DatabaseError, TimeoutError):
    """The database worked on a statement for longer than ``timeout``; it was cancelled."""

    retryable = True


class QueryError(DatabaseError):
    """The query is wrong, does more than read, or returns what cannot be used."""


class CursorError(DatabaseError):
    """The columns that say which rows are new do not do so."""


class PartitionError(FlowstoneError):
    """No partition could be found for a row."""


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[DatabaseError]
    message: str
    hint: str


_UNREACHABLE = _Kind(
    DatabaseUnavailableError, "the database cannot be reached", "check url and password"
)
_PASSING = _Kind(
    DatabaseUnavailableError, "the database is not available at the moment", "polls go on"
)
_LOGIN = _Kind(AccessError, "the login is refused", "check the user and the password")
_DENIED = _Kind(AccessError, "the user may not read this", "grant it the right to read, no other")
_MISSING = _Kind(DatabaseError, "there is no such database", "check url")
_TIMEOUT = _Kind(
    QueryTimeoutError,
    "the query took too long and was cancelled",
    "add an index, ask for less, or raise timeout and the sensor's deadline",
)
_WRITES = _Kind(QueryError, "the query does more than read", "only reading is allowed")
_WRONG = _Kind(QueryError, "the query failed", "try it in the database's own shell")
_NO_FILE = _Kind(
    DatabaseUnavailableError,
    "the file cannot be opened for reading",
    "check that it is there and readable; a file in WAL mode needs a folder that is writable, "
    "or its -wal and -shm files",
)
_CORRUPT = _Kind(
    DatabaseError, "the file is no SQLite database, or a damaged one", "restore a backup of it"
)

# By SQLSTATE (appendix A of PostgreSQL's manual), the longest that fits.
_POSTGRESQL = {
    "08": _UNREACHABLE,
    "25006": _WRITES,
    "28": _LOGIN,
    "3D000": _MISSING,
    "40": _PASSING,
    "42501": _DENIED,
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
# By number; MariaDB's are the same but for the time-out.
_MYSQL = {
    1040: _PASSING,
    1044: _DENIED,
    1045: _LOGIN,
    1049: _MISSING,
    1142: _DENIED,
    1143: _DENIED,
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


def explain(error: Exception, address: Address) -> DatabaseError:
    """Say what an error of SQLAlchemy, or of the driver below it, means.

    Args:
        error: As it was raised.
        address: Where the database is.
    """
    cause = getattr(error, "orig", None) or error
    kind = _kind(cause, address)
    text = address.mask(" ".join(str(cause).split()))[:_QUOTED]
    return kind.error(f"{kind.message}: {text}: {address}", hint=kind.hint)


def _kind(cause: BaseException, address: Address) -> _Kind:
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    if isinstance(cause, PoolTimeoutError):
        return _PASSING
    if address.backend == "sqlite":
        code = getattr(cause, "sqlite_errorcode", None)
        return _SQLITE.get(code & 0xFF, _WRONG) if isinstance(code, int) else _WRONG
    if address.backend == "postgresql":
        return _postgresql_kind(cause)
    number = cause.args[0] if cause.args else None
    return _MYSQL.get(number, _WRONG) if isinstance(number, int) else _WRONG


def _postgresql_kind(cause: BaseException) -> _Kind:
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or _WRONG
    # What fails before there is a connection, or ends it, has no SQLSTATE.
    if type(cause).__name__ == "OperationalError":
        return _UNREACHABLE
    return _WRONG


FOREIGN = (sqlite3.Warning,)
"""What a driver raises beside its own errors: sqlite3 before Python 3.12, for two statements."""
