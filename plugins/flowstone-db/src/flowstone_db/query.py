"""A query that returns one row: its value, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowstone_db.database import Database
from flowstone_db.errors import QueryError
from flowstone_db.value import canonical, encode_row

if TYPE_CHECKING:
    from pydantic import JsonValue

VALUE_LIMIT = 64 * 1024
"""Most bytes of JSON of a value: it is stored, and its event has the one before it as well."""

NO_ROW: dict[str, JsonValue] = {"no_row": True}
"""What stands for the value when the query returns no row."""


class Question:
    """Asks a database for one value.

    Args:
        database: Who is asked.
        query: One statement that returns one row at most.
    """

    def __init__(self, database: Database, query: str) -> None:
        self._database = database
        self._query = query

    def ask(self) -> Mapping[str, object] | None:
        """Return the row, by the names of its columns; None if there is none.

        Raises:
            DatabaseError: If the query fails, or returns more than a row.
        """
        with self._database.reading(most=2) as connection:
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
                hint="give each a name of its own by AS",
            )
        if len(rows) > 1:
            raise QueryError(
                "the query returns more than one row",
                hint="select one: max(...), count(*), or ORDER BY ... LIMIT 1",
            )
        return dict(zip(names, rows[0], strict=True)) if rows else None

    def explain(self) -> None:
        """Have the database look at the query, and at the right to read, without running it.

        Raises:
            DatabaseError: If the query would fail.
        """
        with self._database.reading() as connection:
            connection.execution_options(no_parameters=True).exec_driver_sql(
                f"EXPLAIN {self._query}"
            )


def value_of(row: Mapping[str, object] | None) -> JsonValue:
    """Return the value that a row is.

    Raises:
        QueryError: If it has no form, or is too large.
    """
    if row is None:
        return NO_ROW
    try:
        value = encode_row(row)
    except ValueError as error:
        raise QueryError(f"the query returns what has no form here: {error}") from None
    size = len(canonical(value).encode())
    if size > VALUE_LIMIT:
        raise QueryError(
            f"the value has {size:,} bytes; at most {VALUE_LIMIT:,} are allowed",
            hint="select what tells that it has changed: a count, a time, md5(...)",
        )
    return value


def differ(value: JsonValue, previous: JsonValue) -> bool:
    """Say whether two values are not the same; those of different types never are."""
    return canonical(value) != canonical(previous)


def is_something(value: JsonValue) -> bool:
    """Say whether a value is more than NULL, or no row."""
    if isinstance(value, dict):
        return value != NO_ROW and any(part is not None for part in value.values())
    return value is not None
