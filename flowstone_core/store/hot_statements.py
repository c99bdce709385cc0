"""Hot statements: compiled once, and executed by SQLite's driver without SQLAlchemy.

SQLAlchemy takes 20 to 80 microseconds to execute a compiled statement, as long as SQLite takes to
insert ten rows. On PostgreSQL the round trip takes longer than both: there SQLAlchemy executes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVarTuple, cast

from sqlalchemy import Boolean, Connection, Dialect
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.sql.selectable import TypedReturnsRows

Ts = TypeVarTuple("Ts")

Row: TypeAlias = Sequence[Any]
Rows: TypeAlias = Sequence[Row]
_Process: TypeAlias = Callable[[Any], Any]


class HotStatement(Generic[*Ts]):
    """A statement that is executed in each transaction of ticks, claims or ends.

    Args:
        statement: A SELECT, or an INSERT, UPDATE or DELETE with RETURNING. It has no ``IN`` with a
            list, whose text depends on the length of the list.
    """

    def __init__(self, statement: TypedReturnsRows[*Ts]) -> None:
        self._statement = statement
        self._on_sqlite: _OnSqlite | None = None

    def __call__(self, connection: Connection, **parameters: object) -> Sequence[tuple[*Ts]]:
        """Execute the statement; return its rows as tuples."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, parameters).all()
        if self._on_sqlite is None:
            self._on_sqlite = _OnSqlite(self._statement, connection.dialect)
        found = self._on_sqlite.execute(connection, parameters)
        return cast("Sequence[tuple[*Ts]]", found)


class _OnSqlite:
    """A statement compiled for SQLite, with the conversions of its values."""

    def __init__(self, statement: TypedReturnsRows[*tuple[object, ...]], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._text = compiled.string
        names = list(compiled.positiontup or ())
        self._names = names
        self._constants = {name: compiled.binds[name].value for name in names}
        self._processors = [
            (at, process)
            for at, name in enumerate(names)
            if (process := bind_processor(compiled.binds[name].type, dialect))
        ]
        results = [column.type for column in statement.exported_columns]
        made = [kind.dialect_impl(dialect).result_processor(dialect, None) for kind in results]
        self._convert = column_converter(made) if any(made) else None

    def execute(self, connection: Connection, parameters: dict[str, object]) -> Rows:
        given = {**self._constants, **parameters}
        values = [given[name] for name in self._names]
        try:
            for at, process in self._processors:
                values[at] = process(values[at])
        except ValueError as error:
            raise StatementError(str(error), self._text, None, error) from error
        rows: Rows = driver(connection).execute(self._text, values).fetchall()
        return self._convert(rows) if self._convert else rows


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection to SQLite, in the same transaction."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


_TRUTH = {True: 1, False: 0, None: None}


def bind_processor(kind: TypeEngine[Any], dialect: Dialect) -> _Process | None:
    """Return a function that converts a parameter as SQLAlchemy does; None if none is needed."""
    if isinstance(kind, Boolean) and dialect.name == "sqlite":
        return _TRUTH.__getitem__
    return kind.dialect_impl(dialect).bind_processor(dialect)


def column_converter(
    processors: Sequence[_Process | None], order: Iterable[int] | None = None
) -> Callable[[Rows], Rows]:
    """Return a function that converts the values of rows.

    Args:
        processors: Convert the values of a row; None for a value that stays as it is.
        order: The positions of the values to return; by default all.
    """
    wanted = [(at, processors[at]) for at in (range(len(processors)) if order is None else order)]

    def convert(rows: Rows) -> Rows:
        if not rows:
            return rows
        columns = list(zip(*rows, strict=True))
        # Column by column, since most of them stay as they are.
        converted = (
            columns[at] if process is None else map(process, columns[at]) for at, process in wanted
        )
        return list(zip(*converted, strict=True))

    return convert
