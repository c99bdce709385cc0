"""Row sets: many rows in one statement, with one SQL text for any number of rows.

A set of rows is one parameter: a JSON document that the database reads as a table, by
``json_each`` on SQLite and ``json_to_recordset`` on PostgreSQL. So each statement is compiled once,
by SQLAlchemy and by SQLite, and nothing returns rows one by one: ids are taken ahead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

Row: TypeAlias = Sequence[object]
Rows: TypeAlias = Sequence[Row]
Types: TypeAlias = Mapping[str, TypeEngine[Any]]


def row_set(name: str, **types: TypeEngine[Any]) -> TableValuedAlias:
    """Return a table of rows that are a parameter of the statement.

    Use the table as any other, in SELECT, in ``UPDATE ... FROM`` and in INSERT from SELECT, and
    pass the rows as the statement's parameter ``name``: tuples in the order of the columns.

    Args:
        name: The name of the table and of the parameter.
        types: The columns and their types.

    Example:
        >>> wanted = row_set("wanted", id=ID)
        >>> query = select(ticks.c.source).join(wanted, ticks.c.id == wanted.c.id)
        >>> connection.execute(query, {"wanted": [(1,), (2,)]})
    """
    columns = tuple(types.items())
    source = _RowSet(bindparam(name, type_=_Document(columns)))
    return source.table_valued(*(Column(key, kind) for key, kind in columns), name=name)


def ids(connection: Connection, table: Table, count: int) -> list[int]:
    """Take ids for new rows: ascending, and never used before.

    On SQLite they are those that AUTOINCREMENT would give next, and the write lock keeps them for
    this transaction: insert the rows before you take more.
    """
    if connection.dialect.name != "sqlite":
        given = {"table": table.name, "count": count}
        return list(connection.exec_driver_sql(_NEXT_IDS, given).scalars())
    last: int = connection.exec_driver_sql(_LAST_ID.format(table=table.name)).scalar_one()
    return list(range(last + 1, last + 1 + count))


_NEXT_IDS = (
    "SELECT nextval(pg_get_serial_sequence(%(table)s, 'id')) FROM generate_series(1, %(count)s)"
)
_LAST_ID = (
    "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0), "
    "ifnull((SELECT max(id) FROM {table}), 0))"
)


class RowInsert:
    """An INSERT of many rows.

    Args:
        columns: The columns that the rows have; the others get their defaults.
    """

    def __init__(self, *columns: Column[Any]) -> None:
        table, names = columns[0].table, [column.name for column in columns]
        types = {column.name: column.type for column in columns}
        rows = row_set("rows", **types)
        self._write = _Write(
            types,
            insert(table).values({name: bindparam(name) for name in names}),
            insert(table).from_select(names, select(*rows.c)),
        )

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Insert the rows: tuples in the order of the columns."""
        self._write(connection, rows)


class RowUpdate:
    """An UPDATE of many rows, each with values that come from a row of a set.

    Args:
        key: The column by whose value a row is found: the first value of each row of the set.
        types: The other values of a row of the set, and their types.
        values: Returns the values of the columns, given those of the set by name.
    """

    def __init__(
        self,
        key: Column[Any],
        types: Types,
        values: Callable[[Mapping[str, ColumnElement[Any]]], Mapping[str, ColumnElement[Any]]],
    ) -> None:
        types = {"key": key.type, **types}
        bound = {name: bindparam(f"new_{name}", type_=kind) for name, kind in types.items()}
        rows = row_set("rows", **types)

        def statement(given: Mapping[str, ColumnElement[Any]]) -> Any:
            return update(key.table).where(key == given["key"]).values(values(given))

        renamed = {f"new_{name}": kind for name, kind in types.items()}
        self._write = _Write(renamed, statement(bound), statement(dict(rows.c)))

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Update the rows; a row that does not exist is left out."""
        self._write(connection, rows)


class _Write:
    """A statement for many rows that returns nothing.

    SQLite executes it for each row, in the driver's loop, and PostgreSQL once for all rows.
    Measured, in microseconds for 1, 10, 100 and 1,000 rows of ten columns:

        INSERT on SQLite: executemany 5, 33, 320, 3,380; json_each 14, 64, 550, 5,770
        UPDATE on SQLite: executemany 10, 50, 450, 4,480; json_each 21, 94, 830, 8,530
        INSERT on PostgreSQL: json_to_recordset 130, 260, 1,480, 13,600;
            unnest 220, 390, 1,950, 17,200; executemany 100, 440, 6,650, 29,000

    Args:
        types: The values of a row and their types.
        for_each: The statement for one row, with a parameter for each value.
        for_all: The statement for the row set ``rows``.
    """

    def __init__(self, types: Types, for_each: Any, for_all: Any) -> None:
        self._types = types
        self._for_each = for_each
        self._for_all = for_all
        self._compiled: tuple[str, Callable[[Rows], list[Row]]] | None = None

    def __call__(self, connection: Connection, rows: Rows) -> None:
        if not rows:
            return
        if connection.dialect.name != "sqlite":
            connection.execute(self._for_all, {"rows": rows})
            return
        if self._compiled is None:
            self._compiled = self._compile(connection.dialect)
        text, convert = self._compiled
        try:
            converted = convert(rows)
        except ValueError as error:
            raise StatementError(str(error), text, None, error) from error
        connection.exec_driver_sql(text, converted)

    def _compile(self, dialect: Dialect) -> tuple[str, Callable[[Rows], list[Row]]]:
        """Return the SQL text for one row, and a function that turns rows into its parameters."""
        compiled = cast("SQLCompiler", self._for_each.compile(dialect=dialect))
        names = list(self._types)
        order = [names.index(name) for name in compiled.positiontup or ()]
        return compiled.string, _converter(list(self._types.values()), dialect, order)


class _RowSet(FunctionElement[Any]):
    """The table function of a row set."""

    inherit_cache = True


class _Document(TypeDecorator[Rows]):
    """Rows as a JSON text.

    Args:
        columns: Names and types of the columns.
    """

    impl = Text
    cache_ok = True

    def __init__(self, columns: tuple[tuple[str, TypeEngine[Any]], ...]) -> None:
        super().__init__()
        self.columns = columns

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """See `TypeDecorator.bind_processor`."""
        names = [name for name, _ in self.columns]
        convert = _converter([kind for _, kind in self.columns], dialect)
        if dialect.name == "sqlite":
            return lambda rows: _dump(convert(rows))
        return lambda rows: _dump([dict(zip(names, row, strict=True)) for row in convert(rows)])


@compiles(_RowSet, "sqlite")
def _for_sqlite(element: _RowSet, compiler: SQLCompiler, **options: Any) -> str:
    parameter, columns = _parts(element)
    quoted = (compiler.preparer.quote(name) for name, _ in columns)
    parts = (f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(quoted))
    document = compiler.process(parameter, **options)
    return f"(SELECT {', '.join(parts)} FROM json_each({document}))"  # noqa: S608 - names of columns


@compiles(_RowSet, "postgresql")
def _for_postgresql(element: _RowSet, compiler: SQLCompiler, **options: Any) -> str:
    parameter, columns = _parts(element)
    kinds = compiler.dialect.type_compiler_instance
    parts = (f"{compiler.preparer.quote(name)} {kinds.process(kind)}" for name, kind in columns)
    document = f"{compiler.process(parameter, **options)}::json"
    return f"(SELECT * FROM json_to_recordset({document}) AS row ({', '.join(parts)}))"  # noqa: S608


def _parts(element: _RowSet) -> tuple[BindParameter[Rows], Iterable[tuple[str, TypeEngine[Any]]]]:
    (parameter,) = element.clauses
    assert isinstance(parameter, BindParameter)  # noqa: S101 - `row_set` made the element
    assert isinstance(parameter.type, _Document)  # noqa: S101
    return parameter, parameter.type.columns


def _converter(
    types: Sequence[TypeEngine[Any]], dialect: Dialect, order: Sequence[int] | None = None
) -> Callable[[Rows], list[Row]]:
    """Return a function that converts the values of rows as SQLAlchemy does with parameters.

    Args:
        types: The types of a row's values.
        dialect: The dialect of the database.
        order: The positions of the values to return, for each row; by default all of them.
    """
    order = range(len(types)) if order is None else order
    made = [types[at].dialect_impl(dialect).bind_processor(dialect) for at in order]
    wanted = list(zip(order, made, strict=True))

    def convert(rows: Rows) -> list[Row]:
        # Column by column: most of them stay as they are.
        columns = list(zip(*rows, strict=True))
        if not columns:
            return []
        return list(
            zip(
                *(
                    columns[at] if process is None else map(process, columns[at])
                    for at, process in wanted
                ),
                strict=True,
            )
        )

    return convert


def _dump(rows: object) -> str:
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat)
    # SQLite would cut the text off there, and PostgreSQL refuses it.
    if "\\u0000" in text and "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("text cannot contain NUL")
    return text
