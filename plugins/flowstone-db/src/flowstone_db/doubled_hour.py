"""Doubled hour: the local times that come twice, when clocks are set back.

A timestamp without a zone does not tell which of the two passes it is of. So its rows are read as
they come in the first pass, and once more, together with those of the second, as the second pass
goes over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class DoubledHour:
    """Local times that come twice.

    Attributes:
        start: The first of them, without a zone.
        second_pass: The instant at which it comes for the second time, in UTC.
    """

    start: datetime
    second_pass: datetime


def doubled_hour(wall: datetime, zone: tzinfo) -> DoubledHour | None:
    """Return the doubled hour of a local time; None for a time that comes once, or never.

    Args:
        wall: A local time, without a zone.
        zone: The time zone.
    """
    before, after = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if before is None or after is None or before <= after:
        return None
    first, second = (wall - before).replace(tzinfo=UTC), (wall - after).replace(tzinfo=UTC)
    while second - first > _MICROSECOND:
        middle = first + (second - first) // 2
        if middle.astimezone(zone).utcoffset() == before:
            first = middle
        else:
            second = middle
    return DoubledHour((second + after).replace(tzinfo=None), second)
