"""Row writes: INSERT and UPDATE of many rows at once, by the fastest way of each database.

SQLite executes the statement for each row, in the driver's loop, and PostgreSQL once for a row set.
Measured, in microseconds for 1, 10, 100 and 1,000 rows of ten columns:

======================================  ====  ====  ======  =======
INSERT on SQLite, executemany              5    33     320    3,380
INSERT on SQLite, json_each               14    64     550    5,770
UPDATE on SQLite, executemany             10    50     450    4,480
UPDATE on SQLite, json_each               21    94     830    8,530
INSERT on PostgreSQL, json_to_recordset  130   260   1,480   13,600
INSERT on PostgreSQL, unnest             220   390   1,950   17,200
INSERT on PostgreSQL, executemany        100   440   6,650   29,000
======================================  ====  ====  ======  =======
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from flowstone_core.store.hot_statements import Rows, bind_processor, column_converter, driver
from flowstone_core.store.row_sets import row_set

Types: TypeAlias = Mapping[str, TypeEngine[Any]]
Values: TypeAlias = Mapping[str, ColumnElement[Any]]


class RowInsert:
    """An INSERT of many rows.

    Args:
        columns: The columns that the rows have; the others get their defaults.
    """

    def __init__(self, *columns: Column[Any]) -> None:
        table = columns[0].table
        names, types = [column.name for column in columns], _types(columns)
        rows = row_set("rows", **types)
        self._for_each = _ForEach(types, insert(table).values(_parameters(types)))
        self._for_all = insert(table).from_select(names, select(*(rows.c[name] for name in names)))

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Insert the rows: tuples in the order of the columns."""
        if rows and connection.dialect.name == "sqlite":
            self._for_each(connection, rows)
        elif rows:
            connection.execute(self._for_all, {"rows": rows})


class NumberedRowInsert:
    """An INSERT of many rows that get ids.

    Args:
        columns: The columns that the rows have, without the id; the others get their defaults.
    """

    def __init__(self, *columns: Column[Any]) -> None:
        self._table = table = columns[0].table
        names, types = [column.name for column in columns], _types([table.c.id, *columns])
        rows = row_set("rows", **_types(columns))
        found = select(*(rows.c[name] for name in names)).order_by(rows.c.position)
        self._for_each = _ForEach(types, insert(table).values(_parameters(types)))
        # PostgreSQL gives ids in the order of the SELECT, and returns them in any order.
        self._for_all = insert(table).from_select(names, found).returning(table.c.id)

    def __call__(self, connection: Connection, rows: Rows) -> Sequence[int]:
        """Insert the rows: tuples in the order of the columns.

        Returns:
            Their ids, in the order of the rows.
        """
        if not rows:
            return []
        if connection.dialect.name != "sqlite":
            return sorted(connection.scalars(self._for_all, {"rows": rows}))
        numbers = _next_numbers(connection, self._table, len(rows))
        self._for_each(
            connection, [(number, *row) for number, row in zip(numbers, rows, strict=True)]
        )
        return numbers


class RowUpdate:
    """An UPDATE of many rows, each with values that come from a row of a set.

    Args:
        key: The column by whose value a row is found: the first value of each row of the set.
        types: The other values of a row of the set, and their types.
        values: Returns the values of the columns, given those of the set by name.
        same: Further columns that must have the values of the row of the set, by their names.
        where: A condition that the updated rows must meet.
    """

    def __init__(
        self,
        key: Column[Any],
        types: Types,
        values: Callable[[Values], Values],
        same: Sequence[str] = (),
        where: ColumnElement[bool] | None = None,
    ) -> None:
        table = key.table
        conditions = [] if where is None else [where]

        def statement(given: Values) -> Any:
            matches = [key == given["key"], *(table.c[name] == given[name] for name in same)]
            return update(table).where(*matches, *conditions).values(values(given))

        types = {"key": key.type, **types}
        self._for_each = _ForEach(types, statement(_parameters(types)))
        self._for_all = statement(dict(row_set("rows", **types).c))

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Update the rows, of which no two have the same key; unknown keys are left out."""
        if rows and connection.dialect.name == "sqlite":
            self._for_each(connection, rows)
        elif rows:
            connection.execute(self._for_all, {"rows": rows})


class _ForEach:
    """A statement that SQLite executes for each row.

    Args:
        types: The values of a row and their types.
        statement: The statement, with the parameters of `_parameters`.
    """

    def __init__(self, types: Types, statement: Any) -> None:
        self._types = types
        self._statement = statement
        self._compiled: tuple[str, Callable[[Rows], Rows]] | None = None

    def __call__(self, connection: Connection, rows: Rows) -> None:
        if self._compiled is None:
            self._compiled = self._compile(connection.dialect)
        text, convert = self._compiled
        try:
            converted = convert(rows)
        except ValueError as error:
            raise StatementError(str(error), text, None, error) from error
        driver(connection).executemany(text, converted)

    def _compile(self, dialect: Dialect) -> tuple[str, Callable[[Rows], Rows]]:
        compiled = cast("SQLCompiler", self._statement.compile(dialect=dialect))
        names = [_PARAMETER.format(name) for name in self._types]
        order = [names.index(name) for name in compiled.positiontup or ()]
        processors = [bind_processor(kind, dialect) for kind in self._types.values()]
        return compiled.string, column_converter(processors, order)


_LAST_NUMBER = (
    "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0), "
    "ifnull((SELECT max(id) FROM {table}), 0))"
)


def _next_numbers(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Return the ids that SQLite's AUTOINCREMENT gives next: ascending, and never used before.

    The write lock keeps them for this transaction.
    """
    ((last,),) = driver(connection).execute(_LAST_NUMBER.format(table=table.name))
    return range(last + 1, last + 1 + count)


_PARAMETER = "new_{}"
"""The name of a parameter: UPDATE does not allow that of a column."""


def _parameters(types: Types) -> Values:
    return {name: bindparam(_PARAMETER.format(name), type_=kind) for name, kind in types.items()}


def _types(columns: Sequence[Column[Any]]) -> Types:
    return {column.name: column.type for column in columns}
