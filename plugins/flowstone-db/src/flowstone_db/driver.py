"""Drivers: the options with which each is opened, and the values that it returns.

MySQL and MariaDB convert a TIMESTAMP to the zone of the session, which is set to UTC here: so its
values are instants, and are returned as such. PyMySQL returns them like a DATETIME, which is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

CONNECT_TIMEOUT = 10
"""Seconds to wait for a connection to the server."""

_SHORTEST_TIMEOUT = 1
_ALLOWED_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
}


def engine_options(backend: str, timeout: timedelta) -> dict[str, Any]:
    """Return the arguments of `sqlalchemy.create_engine`.

    Args:
        backend: The database system.
        timeout: The time limit of a statement.

    Raises:
        ModuleNotFoundError: If the driver is not installed.
    """
    from sqlalchemy.pool import NullPool, QueuePool

    if backend == "sqlite":
        # A file may be replaced, and an open connection would go on reading the old one.
        return {"poolclass": NullPool}
    arguments: dict[str, Any] = {}
    if backend == "postgresql":
        # Detect a peer that vanished without closing within a minute.
        arguments |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        # Behind PgBouncer a prepared statement would belong to another session.
        arguments |= {"application_name": "flowstone", "prepare_threshold": None}
    else:
        arguments |= {"conv": _conversions()}
    return {
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": timeout.total_seconds(),
        "pool_pre_ping": True,
        "connect_args": arguments,
        "isolation_level": "READ COMMITTED",
    }


def connect_timeouts(backend: str, timeout: timedelta, left: float) -> dict[str, float]:
    """Return the time-outs of a new connection.

    Args:
        backend: The database system.
        timeout: The time limit of a statement.
        left: Seconds until the deadline of the poll that connects.
    """
    left = max(_SHORTEST_TIMEOUT, left)
    seconds = timeout.total_seconds()
    if backend == "sqlite":
        # The wait for another process's lock.
        return {"timeout": min(seconds, left)}
    timeouts: dict[str, float] = {"connect_timeout": int(min(CONNECT_TIMEOUT, left))}
    if backend != "postgresql":
        timeouts["read_timeout"] = min(seconds + CONNECT_TIMEOUT, left)
    return timeouts


def confine(connection: sqlite3.Connection, _: object) -> None:
    """Restrict an SQLite connection to reading, for any statement."""
    # By default Python's sqlite3 begins transactions by itself.
    connection.isolation_level = None
    connection.set_authorizer(_authorize)


def _authorize(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    if action in _ALLOWED_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and name != "load_extension":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _conversions() -> dict[Any, Any]:
    # PyMySQL has no types.
    from pymysql import converters  # type: ignore[import-untyped]
    from pymysql.constants import FIELD_TYPE  # type: ignore[import-untyped]

    def read_instant(text: str) -> object:
        # A zero date is returned as a text.
        found: object = converters.convert_datetime(text)
        return found.replace(tzinfo=UTC) if isinstance(found, datetime) else found

    def write_datetime(value: datetime, mapping: Mapping[Any, Any] | None = None) -> str:
        plain = value if value.tzinfo is None else value.astimezone(UTC)
        text: str = converters.escape_datetime(plain, mapping)
        return text

    return {
        **converters.conversions,
        FIELD_TYPE.TIMESTAMP: read_instant,
        datetime: write_datetime,
    }
