"""Column types: instants, ids and names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String
from sqlalchemy.types import TypeDecorator, TypeEngine

ID = BigInteger().with_variant(Integer, "sqlite")
NAME = String(200)
SOURCE = String(220)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: an aware datetime, returned in UTC.

    SQLite has no type for instants; there the column is a text of fixed width, which sorts by
    time and is readable in the file.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See `TypeDecorator.load_dialect_impl`."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """See `TypeDecorator.process_bind_param`."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value}: must have a time zone")
        value = value.astimezone(UTC)
        if dialect.name != "sqlite":
            return value
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(
        self,
        value: datetime | str | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """See `TypeDecorator.process_result_value`.

        What is not an instant is returned as it is: `readable_rows` leaves out its row, where an
        exception would stop the whole query.
        """
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        if not isinstance(value, str):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return cast("datetime", value)
