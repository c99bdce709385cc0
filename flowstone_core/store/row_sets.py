"""Row sets: many rows in one statement, with one SQL text for any number of rows.

A set of rows is one parameter: a JSON document that the database reads as a table, by
``json_each`` on SQLite and ``json_to_recordset`` on PostgreSQL. So each statement is compiled once,
by SQLAlchemy and by SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Dialect,
    FromClause,
    Integer,
    Join,
    Table,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from flowstone_core.store.hot_statements import Rows, bind_processor, column_converter


def row_set(name: str, /, **types: TypeEngine[Any]) -> TableValuedAlias:
    """Return a table of rows that are a parameter of the statement.

    Use the table as any other, in SELECT, in ``UPDATE ... FROM`` and in INSERT from SELECT, and
    pass the rows as the statement's parameter ``name``: tuples in the order of the columns. The
    column ``position`` counts them from 1.

    Args:
        name: The name of the table and of the parameter.
        types: The columns and their types.

    Example:
        >>> from sqlalchemy import create_engine, select
        >>> wanted = row_set("wanted", key=Text())
        >>> query = select(wanted.c.position, wanted.c.key)
        >>> with create_engine("sqlite://").connect() as connection:
        ...     connection.execute(query, {"wanted": [("a",), ("b",)]}).all()
        [(1, 'a'), (2, 'b')]
    """
    columns = tuple(types.items())
    source = _RowSet(bindparam(name, type_=_Document(columns)))
    listed = [Column(key, kind) for key, kind in columns]
    return source.table_valued(*listed, Column("position", Integer), name=name)


def matching(rows: TableValuedAlias, table: Table) -> FromClause:
    """Return a row set joined with the rows of a table that have the same values.

    Columns with the same name are compared. SQLite looks up each row of the set by an index:
    left alone, it might read a whole table, since it knows nothing of the size of a set.
    """
    names = [column.name for column in rows.c if column.name in table.c]
    return _Lookup(rows, table, and_(*(table.c[name] == rows.c[name] for name in names)))


class _Lookup(Join):
    """A join that reads its left side first."""

    inherit_cache = True


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
        convert = column_converter([bind_processor(kind, dialect) for _, kind in self.columns])
        if dialect.name == "sqlite":
            return lambda rows: _dump(convert(rows))
        return lambda rows: _dump([dict(zip(names, row, strict=True)) for row in convert(rows)])


@compiles(_RowSet, "sqlite")
def _set_for_sqlite(element: _RowSet, compiler: SQLCompiler, **options: Any) -> str:
    parameter, columns = _parts(element)
    quoted = (compiler.preparer.quote(name) for name, _ in columns)
    parts = [f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(quoted)]
    listed = ", ".join([*parts, "key + 1 AS position"])
    document = compiler.process(parameter, **options)
    return f"(SELECT {listed} FROM json_each({document}))"  # noqa: S608 - names of columns


@compiles(_RowSet, "postgresql")
def _set_for_postgresql(element: _RowSet, compiler: SQLCompiler, **options: Any) -> str:
    parameter, columns = _parts(element)
    kinds = compiler.dialect.type_compiler_instance
    names = [compiler.preparer.quote(name) for name, _ in columns]
    typed = (
        f"{name} {kinds.process(kind)}" for name, (_, kind) in zip(names, columns, strict=True)
    )
    document = compiler.process(parameter, **options)
    record = f"json_to_recordset({document}::json) AS ({', '.join(typed)})"
    named = ", ".join([*names, "position"])
    return f"(SELECT * FROM ROWS FROM ({record}) WITH ORDINALITY AS row ({named}))"  # noqa: S608


@compiles(_Lookup, "sqlite")
def _lookup_for_sqlite(element: _Lookup, compiler: SQLCompiler, **options: Any) -> str:
    text: str = compiler.visit_join(element, **options)  # type: ignore[no-untyped-call]  # not typed
    # SQLite keeps the order of a CROSS JOIN (sqlite.org/optoverview.html, section 9).
    return text.replace(" JOIN ", " CROSS JOIN ", 1)


def _parts(element: _RowSet) -> tuple[BindParameter[Rows], Iterable[tuple[str, TypeEngine[Any]]]]:
    (parameter,) = element.clauses
    assert isinstance(parameter, BindParameter)  # noqa: S101 - `row_set` made the element
    assert isinstance(parameter.type, _Document)  # noqa: S101
    return parameter, parameter.type.columns


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat)


def _dump(rows: object) -> str:
    text = _ENCODER.encode(rows)
    # SQLite would cut the text off there, and PostgreSQL refuses it.
    if "\\u0000" in text and "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("text cannot contain NUL")
    return text
