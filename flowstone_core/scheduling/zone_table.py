"""Zone table: the periods of a time zone between two clock changes, as whole seconds.

Instants are seconds since 1970-01-01T00:00Z; local times are seconds since 1970-01-01T00:00 on the
zone's clocks. Both are integers: an instant plus the offset of its period is its local time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

DAY = 86_400
"""Seconds of a day; no offset is as large."""

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local
# Nearer to the ends of what a datetime holds, the local time of some zone is out of it.
_EARLIEST = (datetime(1, 1, 3, tzinfo=UTC) - _EPOCH).days * DAY
_LATEST = (datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).days * DAY
_END = (datetime.max.replace(tzinfo=UTC) - _EPOCH).days * DAY + DAY

_SPAN = 64 * DAY
"""Seconds that are looked up at once."""

_MARGIN = 2 * DAY

_STEP = 2 * DAY
"""Seconds between two looks; the nearest two changes ever are four days apart (Freetown, 1939)."""

_KEPT = 512
"""Maximum number of spans that a table keeps: 90 years."""


@dataclass(frozen=True, slots=True)
class Period:
    """Period in which the offset from UTC is the same.

    A table is made span by span, so a period may begin or end where clocks do not change: two
    days before the span, or two days after it.

    Attributes:
        begin: Its first instant.
        end: The first instant after it.
        offset: The offset from UTC.
        before: The offset just before ``begin``.
        repeated: The local times before this one are shown for the second time.
    """

    begin: int
    end: int
    offset: int
    before: int
    repeated: int

    @property
    def low(self) -> int:
        """The first local time."""
        return self.begin + self.offset


class ZoneTable:
    """Table of a time zone's periods, filled where it is asked; may be used from any thread.

    Args:
        zone: The time zone; its offsets are whole seconds.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._origin = datetime(1970, 1, 1, tzinfo=zone)
        self._spans: dict[int, tuple[Period, ...]] = {}
        self._latest = self._find(0)

    def at(self, instant: int) -> Period:
        """Return the period of an instant.

        Raises:
            OverflowError: If the instant is later than a datetime can hold.
        """
        begin, end, period = self._latest  # most are near the last one
        if begin <= instant < end:
            return period
        self._latest = found = self._find(instant)
        return found[2]

    def showing(self, wall: int) -> Period:
        """Return the first period whose clocks show a local time, or a later one after a gap.

        Raises:
            OverflowError: If the local time is later than a datetime can hold.
        """
        period = self.at(wall - DAY)
        while wall - period.offset >= period.end:
            period = self.at(period.end)
        return period

    def local(self, wall: int, period: Period) -> datetime:
        """Return a local time that a period shows, in the zone.

        Raises:
            OverflowError: If a datetime cannot hold the local time.
        """
        local = self._origin + timedelta(0, wall)
        return local.replace(fold=1) if wall < period.repeated else local

    def unchanged(self, wall: int) -> datetime:
        """Return a local time in a gap, by the offset before the change."""
        return self._origin + timedelta(0, wall)

    def _find(self, instant: int) -> tuple[int, int, Period]:
        """Return the period of an instant, and the part of the period that is in its span."""
        if instant >= _END:
            raise OverflowError(instant)
        begin = instant - instant % _SPAN
        periods = self._spans.get(begin)
        if periods is None:
            if len(self._spans) >= _KEPT:
                self._spans.clear()
            self._spans[begin] = periods = tuple(self._periods(begin))
        period = next(each for each in periods if instant < each.end)
        return max(period.begin, begin), min(period.end, begin + _SPAN), period

    def _periods(self, begin: int) -> Iterator[Period]:
        """Yield the periods that have a part in a span.

        They go beyond the span by two days, so that an overlap with both its passes is whole.
        """
        end = min(begin + _SPAN + _MARGIN, _END)
        start = begin - _MARGIN
        offset = before = self._offset(start) // _SECOND
        repeated = start + offset
        for change in (*self._changes(start, end - 1), end):
            if change > begin:
                yield Period(start, change, offset, before, repeated)
            start, before = change, offset
            offset, repeated = self._offset(change) // _SECOND, change + before

    def _changes(self, begin: int, end: int) -> Iterator[int]:
        """Yield the instants, after ``begin`` and no later than ``end``, that change the offset."""
        earlier, before = begin, self._offset(begin)
        for later in (*range(begin + _STEP, end, _STEP), end):
            after = self._offset(later)
            while before != after:
                seconds = range(earlier + 1, later + 1)
                differs = partial(self._differs, before)
                earlier = seconds[bisect_left(seconds, True, key=differs)]  # noqa: FBT003
                yield earlier
                before = self._offset(earlier)
            earlier = later

    def _differs(self, offset: timedelta, instant: int) -> bool:
        return self._offset(instant) != offset

    def _offset(self, instant: int) -> timedelta:
        if not _EARLIEST <= instant <= _LATEST:
            instant = _EARLIEST if instant < _EARLIEST else _LATEST
        offset = self.zone.fromutc(self._origin + timedelta(0, instant)).utcoffset()
        assert offset is not None  # noqa: S101 - a ZoneInfo has one for every datetime
        return offset


@lru_cache(maxsize=1024)  # more than there are names
def zone_table(zone: ZoneInfo) -> ZoneTable:
    """Return the table of a time zone, the same for all that ask."""
    return ZoneTable(zone)


def seconds_of(after: datetime) -> int:
    """Return the last whole second of an aware datetime, at least the earliest of every zone."""
    since = after - _EPOCH
    return max(since.days * DAY + since.seconds, _EARLIEST)


def instant_of(seconds: int) -> datetime:
    """Return an instant as a datetime in UTC.

    Raises:
        OverflowError: If a datetime cannot hold the instant.
    """
    return _EPOCH + timedelta(0, seconds)


def wall_of(local: datetime) -> int:
    """Return the last whole second of a naive local time."""
    since = local - _NAIVE_EPOCH
    return since.days * DAY + since.seconds


def year_of(wall: int) -> int:
    """Return the year of a local time.

    Raises:
        OverflowError: If a datetime cannot hold the local time.
    """
    return (_NAIVE_EPOCH + timedelta(0, wall)).year
