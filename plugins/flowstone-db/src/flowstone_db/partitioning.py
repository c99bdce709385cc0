"""Partitions of rows and payloads: taken from a column, a field, a text or a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import TypeVar, cast
from uuid import UUID

from flowstone_core import (
    Partition,
    RetryLater,
    SensorBroken,
    encode_partition,
    partition_from_text,
)

T = TypeVar("T")


def by_column(name: str) -> Callable[[Mapping[str, object]], Partition]:
    """Return a function that takes the partition of a row out of one of its columns."""

    def partition_of(row: Mapping[str, object]) -> Partition:
        if name not in row:
            raise ValueError(
                f"unknown column {name!r:.80}; there are {', '.join(map(repr, row))}"[:300]
            )
        return as_partition(row[name], name)

    return partition_of


def as_partition(value: object, name: str = "value") -> Partition:
    """Return the partition that a column's value names: integers and UUIDs are their text.

    A text in the form of a date is a date: SQLite has no type for dates.

    Raises:
        ValueError: If the value is NULL, empty, of another type, or an invalid date.
    """
    if isinstance(value, str):
        return from_text(value)
    if isinstance(value, date):
        return value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise ValueError(f"column {name!r:.80} is NULL")
    raise ValueError(
        f"column {name!r:.80} has unsupported type {type(value).__qualname__}; a partition must be "
        "a date, a timestamp, a text, an integer or a UUID"
    )


def from_text(text: str) -> Partition:
    """Return the partition that a text names: a date or datetime, if it is written like one.

    Raises:
        ValueError: If the text is empty, or an invalid date.
    """
    if not text:
        raise ValueError("empty text")
    return partition_from_text(text)


def by_field(name: str) -> Callable[[str], Partition]:
    """Return a function that takes the partition out of a field of a JSON object."""

    def partition_of(text: str) -> Partition:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("invalid JSON") from None
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"not a JSON object with a field {name!r:.80}")
        value: object = found[name]
        if isinstance(value, str):
            return from_text(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise ValueError(f"field {name!r:.80} must be a text or an integer")

    return partition_of


def checked(partition_of: Callable[[T], object]) -> Callable[[T], Partition | None]:
    """Wrap a partition function so that every failure is a ValueError that names it.

    Raises:
        RetryLater: If ``partition_of`` raises it.
        SensorBroken: If ``partition_of`` raises it.
    """

    def find(source: T) -> Partition | None:
        try:
            found = cast("Partition | None", partition_of(source))
            if found is not None:
                encode_partition(found)
        except (RetryLater, SensorBroken):
            raise
        except ValueError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        return found

    return find
