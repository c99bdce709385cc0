"""Near dates of a sensor: text partitions that a source may mean as dates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from flowstone_core.model.near_date import near_date
from flowstone_core.model.partition import Partition, decode_partition
from flowstone_core.model.tick import TickCommit

LOOKED_AT = 1_000
"""Events of a tick whose partitions are looked at: a first poll may find a million."""


def first_near_date(commits: Iterable[TickCommit]) -> tuple[str, str] | None:
    """Return the first text that is nearly a date among the partitions of a tick, and the date.

    Args:
        commits: The transactions of the tick.
    """
    events = islice(chain.from_iterable(commit.events for commit in commits), LOOKED_AT)
    for event in events:
        for text in _texts(decode_partition(event.partition)):
            date = near_date(text)
            if date is not None:
                return text, date
    return None


def _texts(partition: Partition) -> Iterator[str]:
    if isinstance(partition, str):
        yield partition
    elif isinstance(partition, tuple):
        for part in partition:
            yield from _texts(part)
