"""SQL statements of `database_rows`; values in them are always bound parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowstone_db.config import DatabaseRowsConfig

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

Key = tuple[Any, ...]

LABEL = "flowstone_key_"
"""Prefix of the labels of the key's columns; their number follows."""


class RowStatements:
    """Statements over a table, or a query in its place, ordered by its key.

    Args:
        config: The settings of the table or query, and of its columns.
    """

    def __init__(self, config: DatabaseRowsConfig) -> None:
        from sqlalchemy import column, table, text

        name = config.partition_column
        names = dict.fromkeys(config.keys if name is None else (*config.keys, name))
        columns: list[Any] = [column(each) for each in names]
        if config.query is None:
            schema, _, bare = str(config.table).rpartition(".")
            self._from: Any = table(bare, *columns, schema=schema or None)
        else:
            # On separate lines, so that a comment at its end ends there; escaped, so that a colon
            # does not begin a parameter.
            escaped = config.query.replace(":", "\\:")
            query = text(f"\n{escaped}\n").columns(*columns)
            self._from = query.subquery("flowstone_rows")
        # With the name of the table: without it, SQLite takes an unknown name in quotes for a text.
        self._keys: Sequence[ColumnElement[Any]] = [self._from.c[each] for each in config.keys]
        self._strict = config.timestamp_column is not None
        self._columns: list[Any] = [] if name is None else [self._from.c[name].label(name)]
        if config.partition_fn is not None:
            self._columns = [text("*")]

    def nothing(self) -> Select[Any]:
        """Select no row, with all columns of `rows`."""
        from sqlalchemy import select

        columns = [*self._columns, *self._labelled()]
        return select(*columns).select_from(self._from).limit(0)

    def newest(self) -> Select[Any]:
        """Select the greatest value of the key's first column."""
        from sqlalchemy import select

        first = self._keys[0]
        query = select(first).select_from(self._from).where(first.is_not(None))
        return query.order_by(first.desc()).limit(1)

    def greatest(self, count: int) -> Select[Any]:
        """Select the greatest values of the key's first column, each once."""
        from sqlalchemy import select

        first = self._keys[0]
        query = select(first).distinct().select_from(self._from).where(first.is_not(None))
        return query.order_by(first.desc()).limit(count)

    def without_key(self) -> Select[Any]:
        """Count the rows with NULL in the key."""
        from sqlalchemy import func, or_, select

        missing = or_(*(key.is_(None) for key in self._keys))
        return select(func.count()).select_from(self._from).where(missing)

    def zero_dates(self) -> Select[Any]:
        """Count the rows with a zero date of MySQL in the key, which is NULL in its comparisons."""
        from sqlalchemy import String, cast, func, select

        zero = cast(self._keys[0], String).like("%-00%")
        return select(func.count()).select_from(self._from).where(zero)

    def behind(self, cursor: Key, above: Key | None, limit: int) -> Select[Any]:
        """Select the keys up to the cursor and above another key, the greatest first."""
        query = self._behind(self._labelled(), cursor, above)
        return query.order_by(*(key.desc() for key in self._keys)).limit(limit)

    def count_behind(self, cursor: Key, above: Key | None) -> Select[Any]:
        """Count the rows up to the cursor and above another key."""
        from sqlalchemy import func

        return self._behind([func.count()], cursor, above)

    def equal(self, value: object) -> Select[Any]:
        """Count the rows with a value in the key's first column."""
        from sqlalchemy import func, literal, select

        same = self._keys[0] == literal(value)
        return select(func.count()).select_from(self._from).where(same)

    def reaching(self, value: object) -> Select[Any]:
        """Select one row with at least a value in the key's first column."""
        from sqlalchemy import literal, literal_column, select

        query: Select[Any] = select(literal_column("1")).select_from(self._from)
        return query.where(self._keys[0] >= literal(value)).limit(1)

    def nth(self, number: int, after: Key | None, bound: object) -> Select[Any]:
        """Select the key of the n-th row to read, counted from 1."""
        return self._window(self._labelled(), after, bound).offset(number - 1).limit(1)

    def last(self, bound: object) -> Select[Any]:
        """Select the key of the last row before the bound."""
        from sqlalchemy import select

        query = select(*self._labelled()).select_from(self._from).where(self._before(bound))
        return query.order_by(*(key.desc() for key in self._keys)).limit(1)

    def rows(self, after: Key | None, bound: object, up_to: Key | None) -> Select[Any]:
        """Select the rows to read, in order, up to and including all rows with a given key."""
        query = self._window([*self._columns, *self._labelled()], after, bound)
        return query if up_to is None else query.where(self._compared(up_to, until=True))

    def _labelled(self) -> list[Any]:
        return [key.label(f"{LABEL}{number}") for number, key in enumerate(self._keys)]

    def _window(self, columns: Sequence[Any], after: Key | None, bound: object) -> Select[Any]:
        from sqlalchemy import select

        query = select(*columns).select_from(self._from).where(self._before(bound))
        if after is not None:
            query = query.where(self._compared(after, until=False))
        return query.order_by(*self._keys)

    def _behind(self, columns: Sequence[Any], cursor: Key, above: Key | None) -> Select[Any]:
        from sqlalchemy import select

        query = select(*columns).select_from(self._from)
        query = query.where(self._compared(cursor, until=True))
        return query if above is None else query.where(self._compared(above, until=False))

    def _before(self, bound: object) -> ColumnElement[bool]:
        from sqlalchemy import literal

        first = self._keys[0]
        return first < literal(bound) if self._strict else first <= literal(bound)

    def _compared(self, key: Key, *, until: bool) -> ColumnElement[bool]:
        from sqlalchemy import and_, literal, or_

        values = [literal(value) for value in key]
        first, last = self._keys[0], self._keys[-1]
        beyond = last <= values[-1] if until else last > values[-1]
        if len(self._keys) == 1:
            return beyond
        # The first condition is redundant, but lets the database use an index.
        if until:
            return and_(first <= values[0], or_(first < values[0], beyond))
        return and_(first >= values[0], or_(first > values[0], beyond))
