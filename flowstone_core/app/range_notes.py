"""Range notes: what a user should know about a range of partitions before it is materialized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime

from flowstone_core.model.partition import Partition, format_partition
from flowstone_core.model.partition_range import PartitionRange
from flowstone_core.scheduling.local_range import Naming


def range_notes(span: PartitionRange, namings: Sequence[Naming], *, fed: bool) -> Iterator[str]:
    """Yield notes on a range: an end that no step leads to, partitions that no schedule names.

    Args:
        span: The range.
        namings: How the schedules of the asset name its partitions.
        fed: True if a sensor or another asset requests partitions of it, too.
    """
    if span.end != span.last:
        shown = [format_partition(each) for each in (span.last, span.end, span.first)]
        zoned = isinstance(span.last, datetime) and " in " not in span.every
        local = zoned and span.every in {"day", "week", "month", "year"}
        hint = " (for local days: --every day --timezone NAME)" if local else ""
        yield (
            f"not in the range: {shown[0]}; its last partition is {shown[1]}, "
            f"every {span.every} from {shown[2]}{hint}"
        )
    known = [each for each in namings if each.known]
    if fed or not known or len(known) < len(namings):
        return
    made = [_sample(each, span.first) for each in known]
    if not any(_alike(each, span.first) for each in made):
        yield (
            f"schedule {known[0].schedule!r} names partitions otherwise: "
            f"{format_partition(made[0])}, not {format_partition(span.first)}"
        )


def _sample(naming: Naming, near: Partition) -> Partition:
    at = datetime(2026, 1, 31, tzinfo=naming.zone)
    if isinstance(near, date):
        at = at.replace(year=near.year, month=near.month, day=near.day)
    if naming.template is None:
        return at.date()
    if isinstance(near, str):
        at = (naming.template.read(near) or at).replace(tzinfo=naming.zone)
    return naming.template.partition(at)


def _alike(one: Partition, other: Partition) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if type(one) is not type(other):
        return False
    aware = [isinstance(each, datetime) and each.tzinfo is not None for each in (one, other)]
    return aware[0] == aware[1]
