"""Statements that the two databases write differently: INSERT with ON CONFLICT, and the time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """Return an INSERT that takes ``ON CONFLICT``, in the connection's dialect."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> sqlite.Insert:
    """Return an INSERT that takes ``ON CONFLICT``, in the dialect with this name."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    # The two classes share the methods used here, but no base class that declares them.
    return cast("sqlite.Insert", postgresql.insert(table))


def database_time(connection: Connection) -> datetime | None:
    """Return the time of the database; None for SQLite, which has none but the machine's."""
    if connection.dialect.name == "sqlite":
        return None
    found = connection.scalar(select(func.clock_timestamp()))
    return None if found is None else found.astimezone(UTC)
