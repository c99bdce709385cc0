"""Table copies: streams the rows of a table from one database to another, and compares them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import BigInteger, Column, Connection, Table, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from flowstone_core.errors import StoreError
from flowstone_core.store.database import Database
from flowstone_core.store.readable_rows import AnyRow, kind_of, misfit, name_of

if TYPE_CHECKING:
    import psycopg

PAGE = 5_000
"""Rows that are read and written at once: all that is in memory."""

MAX_SHOWN = 20
"""Rows that are named; the others are only counted."""

_WHOLE = 1 << 64


class TableCopy:
    """Copy of one table, inside a transaction of each database.

    Args:
        table: The table.
        source: The database that is read, for its errors.
        rows: The connection that is read.
        target: The connection that is written.
    """

    def __init__(
        self, table: Table, source: Database, rows: Connection, target: Connection
    ) -> None:
        self._table = table
        self._source = source
        self._rows = rows
        self._target = target
        self._strict = target.dialect.name == "postgresql"

    def run(self, watch: Callable[[int], object], *, dry: bool) -> tuple[int, list[str]]:
        """Copy all rows, and compare what the target then has with what was read.

        Args:
            watch: Called with the number of rows that were read so far.
            dry: Only look for rows that the target cannot keep.

        Returns:
            The number of rows, and the faults of those that the target cannot keep: if there is
            one, the copy is incomplete.

        Raises:
            StoreError: If a database refuses, or the target has other rows than the source.
        """
        write = self._copy_in if self._strict else self._insert
        count = digest = wrong = 0
        named: list[str] = []
        with closing(self._pages()) as pages:
            for page in pages:
                found = list(self._unfit(page))
                wrong += len(found)
                named += found[: MAX_SHOWN - len(named)]
                if not wrong and not dry:
                    self._checked(write, page)
                count += len(page)
                digest = (digest + _digest(page)) % _WHOLE
                watch(count)
        if wrong > len(named):
            named.append(f"and {wrong - len(named):,} more of {self._table.name}")
        if not wrong and not dry and self._found() != (count, digest):
            raise StoreError(f"copy discarded: {self._table.name} differs after the copy")
        return count, named

    def _pages(self) -> Generator[Sequence[AnyRow]]:
        with self._source.errors():
            yield from _stream(self._rows, self._table)

    def _found(self) -> tuple[int, int]:
        count = digest = 0
        for page in _stream(self._target, self._table):
            count += len(page)
            digest = (digest + _digest(page)) % _WHOLE
        return count, digest

    def _checked(self, write: Callable[[Sequence[AnyRow]], None], page: Sequence[AnyRow]) -> None:
        try:
            write(page)
        except IntegrityError as error:
            raise StoreError(
                f"cannot copy {self._table.name}: its rows break a rule of the schema",
                hint="flowstone db check shows such rows",
            ) from error

    def _insert(self, page: Sequence[AnyRow]) -> None:
        names = self._table.columns.keys()
        values = [dict(zip(names, row, strict=True)) for row in page]
        self._target.execute(insert(self._table), values)

    def _copy_in(self, page: Sequence[AnyRow]) -> None:
        import psycopg as driver

        quote = self._target.dialect.identifier_preparer.quote
        columns = ", ".join(map(quote, self._table.columns.keys()))
        statement = f"COPY {quote(self._table.name)} ({columns}) FROM STDIN"
        raw = cast("psycopg.Connection", self._target.connection.dbapi_connection)
        try:
            with raw.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                for row in page:
                    copy.write_row(row)
        except driver.Error as error:
            raise DBAPIError.instance(
                statement, None, error, driver.Error, dialect=self._target.dialect
            ) from error

    def _unfit(self, page: Sequence[AnyRow]) -> Iterator[str]:
        """Yield the rows that the target cannot keep, each with its first fault."""
        named: dict[int, str] = {}
        for column, values in zip(self._table.columns, zip(*page, strict=True), strict=True):
            if not _all_fit(column, values, strict=self._strict):
                for index, value in enumerate(values):
                    fault = _fault(column, value, strict=self._strict)
                    if fault is not None:
                        named.setdefault(index, fault)
        for index, fault in sorted(named.items()):
            yield f"row {name_of(page[index], self._table)}: {fault}"


def _stream(connection: Connection, table: Table) -> Iterator[Sequence[AnyRow]]:
    query = select(table).order_by(*table.primary_key)
    with connection.execute(query.execution_options(yield_per=PAGE)) as result:
        yield from result.partitions()


def _digest(page: Sequence[AnyRow]) -> int:
    # A sum, for the databases sort texts differently.
    return sum(map(hash, page))


def _all_fit(column: Column[object], values: Sequence[object], *, strict: bool) -> bool:
    """Return True if each value is one that the target keeps; quickly, for nearly all are."""
    kind = kind_of(column)
    present = [value for value in values if value is not None]
    if not set(map(type, present)) <= {kind}:
        return False
    if kind is datetime or (strict and kind in {str, int}):
        return all(_fault(column, value, strict=strict) is None for value in present)
    return True


def _fault(column: Column[object], value: object, *, strict: bool) -> str | None:
    """Return the fault of a value; None if the target keeps the value.

    Args:
        strict: The target enforces the types, as PostgreSQL does.
    """
    wrong = misfit(column, value)
    if wrong is not None or not strict:
        return wrong
    if isinstance(value, str):
        if "\0" in value:
            return f"{column.name} has a NUL character, which PostgreSQL does not store"
        length = getattr(column.type, "length", None)
        if length is not None and len(value) > length:
            return f"{column.name} is longer than {length} characters"
    if isinstance(value, int) and not -(limit := _limit(column)) <= value < limit:
        return f"{column.name} is too large a number"
    return None


def _limit(column: Column[object]) -> int:
    return 1 << (63 if isinstance(column.type, BigInteger) else 31)
