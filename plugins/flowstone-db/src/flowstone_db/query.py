"""One-row query: a query that returns at most one row, and its value as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.errors import QueryError
from flowstone_db.value import canonical, encode_row

if TYPE_CHECKING:
    from pydantic import JsonValue

VALUE_LIMIT = 64 * 1024
"""Most bytes of JSON of a value: it is stored, and an event holds it and its predecessor."""

NO_ROW: dict[str, JsonValue] = {"no_row": True}
"""The value of a query that returns no row."""


class OneRowQuery:
    """Query that returns at most one row.

    Args:
        database: The database.
        query: One statement.
    """

    def __init__(self, database: ReadOnlyDatabase, query: str) -> None:
        self._database = database
        self._query = query

    def fetch(self) -> Mapping[str, object] | None:
        """Return the row, by the names of its columns; None without a row.

        Raises:
            DatabaseError: If the query fails, or returns more than one row.
        """
        with self._database.read_transaction(max_rows=2) as connection:
            result = connection.execution_options(
                stream_results=True, no_parameters=True
            ).exec_driver_sql(self._query)
            names = Counter(result.keys())
            rows = result.fetchmany(2)
            result.close()
        name, count = names.most_common(1)[0]
        if count > 1:
            raise QueryError(
                f"the query returns {count} columns named {name!r:.80}",
                hint="give each a different name with AS",
            )
        if len(rows) > 1:
            raise QueryError(
                "the query returns more than one row",
                hint="select one: max(...), count(*), or ORDER BY ... LIMIT 1",
            )
        return dict(zip(names, rows[0], strict=True)) if rows else None

    def check(self) -> None:
        """Check the query, and the right to read, with EXPLAIN, without running the query.

        Raises:
            DatabaseError: If the query would fail.
        """
        with self._database.read_transaction() as connection:
            connection.execution_options(no_parameters=True).exec_driver_sql(
                f"EXPLAIN {self._query}"
            )


def value_of(row: Mapping[str, object] | None) -> JsonValue:
    """Return a row as a value.

    Raises:
        QueryError: If a column has an unsupported type, or the value is too large.
    """
    if row is None:
        return NO_ROW
    try:
        value = encode_row(row)
    except ValueError as error:
        raise QueryError(f"the query returns an unsupported value: {error}") from None
    size = len(canonical(value).encode())
    if size > VALUE_LIMIT:
        raise QueryError(
            f"value too large: {size:,} bytes, at most {VALUE_LIMIT:,} are allowed",
            hint="select a smaller value that changes with it: a count, a time, md5(...)",
        )
    return value


def differs(value: JsonValue, previous: JsonValue) -> bool:
    """Return True if two values differ; values of different types always do."""
    return canonical(value) != canonical(previous)


def has_value(value: JsonValue) -> bool:
    """Return True if a value is neither NULL nor `NO_ROW`."""
    if isinstance(value, dict):
        return value != NO_ROW and any(part is not None for part in value.values())
    return value is not None
