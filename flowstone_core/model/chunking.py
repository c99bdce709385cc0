"""Chunking: splits a sequence of any length into lists that fit into one SQL statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

CHUNK = 500
"""Items in one list. SQLite takes at most 32,766 parameters in a statement, a row has up to 20."""


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists of at most `CHUNK`, in their order.

    Example:
        >>> [len(chunk) for chunk in chunks(range(1_100))]
        [500, 500, 100]
    """
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
