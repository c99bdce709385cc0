"""Column types: instants, ids and names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
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

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], object]:
        """See `TypeDecorator.bind_processor`."""
        return _to_text if dialect.name == "sqlite" else _to_utc

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


def _to_utc(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"naive datetime {value}: must have a time zone")
    return value.astimezone(UTC)


def _to_text(value: datetime | None) -> str | None:
    if value is None:
        return None
    at = value if value.tzinfo is UTC else cast("datetime", _to_utc(value))
    second = _second(at.year, at.month, at.day, at.hour, at.minute, at.second)
    return f"{second}.{at.microsecond:06}Z"


@lru_cache(maxsize=256)  # half of what `isoformat` takes: ticks end many times in a second
def _second(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
