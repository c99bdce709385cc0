"""Which partition a row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, cast
from uuid import UUID

from flowstone_core import Partition, RetryLater, SensorBroken, encode_partition
from flowstone_db.config import RowFunction


def by_column(name: str) -> Callable[[Mapping[str, object]], Partition]:
    """Return a function that takes the partition of a row out of one of its columns."""

    def partition_of(row: Mapping[str, object]) -> Partition:
        if name not in row:
            raise ValueError(
                f"there is no column {name!r:.80}, but {', '.join(map(repr, row))}"[:300]
            )
        return as_partition(row[name], name)

    return partition_of


def as_partition(value: object, name: str) -> Partition:
    """Return the partition that a column's value names: integers and UUIDs are their text.

    Raises:
        ValueError: If it is NULL, or of another type.
    """
    if isinstance(value, str | date):
        return value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise ValueError(f"column {name!r:.80} is NULL")
    raise ValueError(
        f"column {name!r:.80} is of type {type(value).__qualname__}; a partition is a date, a "
        "timestamp, a text, an integer or a UUID"
    )


def checked(
    partition_of: RowFunction,
) -> Callable[[Mapping[str, Any]], Partition | None]:
    """Make whatever goes wrong in finding a partition a ValueError that says what.

    Raises:
        RetryLater: If ``partition_of`` raises it.
        SensorBroken: If ``partition_of`` raises it.
    """

    def find(row: Mapping[str, Any]) -> Partition | None:
        try:
            found = cast("Partition | None", partition_of(row))
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
