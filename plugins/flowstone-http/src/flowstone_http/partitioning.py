"""Partitions of a response: taken from the value of an expression or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

from flowstone_core import FlowstoneError, Partition, encode_partition, partition_from_text
from flowstone_http.errors import PartitionError

PARTITION_LIMIT = 10_000
"""Most partitions of one response."""

_SINGLE = (str, tuple, dict)


def partitions_of(
    value: object, what: str, read: Callable[[object], object]
) -> dict[str, Partition]:
    """Return the partitions of a value, by their texts, each once and in order.

    A list is several partitions; a list in a list, or a tuple, is one partition of several parts.

    Args:
        value: The value of an expression or a function; None stands for no partition.
        what: The name of the expression or function, for errors.
        read: Converts each partition, or each of its parts.

    Raises:
        PartitionError: If the value is not a partition; no value is quoted.
    """
    if value is None:
        return {}
    many = value if isinstance(value, Iterable) and not isinstance(value, _SINGLE) else (value,)
    found: dict[str, Partition] = {}
    try:
        for item in many:
            partition = _partition(item, read)
            found[encode_partition(partition)] = partition
            if len(found) > PARTITION_LIMIT:
                raise ValueError(f"more than {PARTITION_LIMIT:,} of them")
    except FlowstoneError:
        reason = "invalid text or tuple"
    except ValueError as error:
        reason = str(error)
    else:
        return found
    raise PartitionError(
        f"{what} returned no valid partition: {reason}",
        hint="return a date, another text, or a list of them",
    )


def from_json(item: object) -> object:
    """Convert a part of a partition from JSON.

    A text in the form of a date becomes a date, a text in the form of a date with a time becomes a
    datetime, and an integer becomes its text.

    Raises:
        ValueError: If a text has the form of a date, but is not valid.
    """
    if isinstance(item, int) and not isinstance(item, bool):
        return str(item)
    if isinstance(item, str):
        try:
            return partition_from_text(item)
        except FlowstoneError:  # its text quotes the item
            raise ValueError("invalid date") from None
    return item


def as_it_is(item: object) -> object:
    """Return the value of a function unchanged."""
    return item


def _partition(item: object, read: Callable[[object], object]) -> Partition:
    if isinstance(item, list | tuple):
        return tuple(_partition(part, read) for part in item)
    part = read(item)
    if isinstance(part, str | date):
        return part
    raise ValueError(f"a value of type {type(item).__qualname__}")
