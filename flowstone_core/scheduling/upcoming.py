"""Upcoming fire times of a schedule, with their partitions and the changes of clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from flowstone_core.model.duration import format_duration
from flowstone_core.model.partition import encode_partition
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.trigger import Trigger, next_fire


@dataclass(frozen=True, slots=True)
class UpcomingFire:
    """Upcoming fire time.

    Attributes:
        at: The instant, in the schedule's time zone.
        partition: The encoded partition that is materialized.
        shift: The change of clocks since the previous instant, in words; None if there is none.
    """

    at: datetime
    partition: str
    shift: str | None = None

    @property
    def offset(self) -> timedelta:
        """The offset from UTC."""
        return self.at.utcoffset() or timedelta(0)


def upcoming_fires(schedule: Schedule, after: datetime, count: int) -> list[UpcomingFire]:
    """Return the upcoming fire times of a schedule after a moment, at most ``count``.

    Exceptions of a trigger or a ``partition_fn`` propagate.
    """
    zone = schedule.trigger.zone
    before = after.astimezone(zone)
    found = []
    for instant in islice(_instants(schedule.next_instant, after), count):
        at = instant.astimezone(zone)
        partition = encode_partition(schedule.partition(instant))
        found.append(UpcomingFire(at, partition, _shift(before, at)))
        before = at
    return found


def instants(trigger: Trigger, after: datetime, count: int) -> list[datetime]:
    """Return the instants of a trigger after a moment, in its time zone, at most ``count``."""
    found = islice(_instants(lambda moment: next_fire(trigger, moment), after), count)
    return [instant.astimezone(trigger.zone) for instant in found]


def _instants(
    following: Callable[[datetime], datetime | None], after: datetime
) -> Iterator[datetime]:
    instant: datetime | None = after
    while instant is not None:
        instant = following(instant)
        if instant is not None:
            yield instant


def _shift(before: datetime, at: datetime) -> str | None:
    """Return the change of clocks between two moments in one zone, in words."""
    moved = (at.utcoffset() or timedelta(0)) - (before.utcoffset() or timedelta(0))
    if not moved:
        return None
    way = "forward" if moved > timedelta(0) else "back"
    return f"clocks went {way} {format_duration(abs(moved))}"
