"""Statements that both databases understand: INSERT with ON CONFLICT, and IN over tuples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVarTuple, cast

from sqlalchemy import Column, Connection, Select, Table, Text, and_, func, select, values
from sqlalchemy.dialects import postgresql, sqlite

Ts = TypeVarTuple("Ts")


def among(
    query: Select[*Ts], columns: Sequence[Column[str]], rows: Iterable[Sequence[str]]
) -> Select[*Ts]:
    """Restrict a query to the rows whose columns equal one of several tuples.

    Joins a list of values, because SQLite uses an index for a join, and none for
    ``(a, b) IN (...)``.
    """
    wanted = values(*(Column(item.name, Text) for item in columns), name="wanted")
    listed = wanted.data([tuple(row) for row in rows]).cte()
    return query.join(listed, and_(*(item == listed.c[item.name] for item in columns)))


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
