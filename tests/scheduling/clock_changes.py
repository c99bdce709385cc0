"""Every change of clocks of every zone, forty years of them, read from the time zone data."""

import io
import struct
import zoneinfo
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from flowstone_core.scheduling.time_zone import zone_names

BEGIN = int(datetime(2006, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2047, 1, 1, tzinfo=UTC).timestamp())
DAY = timedelta(days=1)
WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Change:
    """A change of clocks: the first second after it, and the offsets on both sides."""

    zone: str
    at: datetime
    before: timedelta
    after: timedelta

    @property
    def shown_before(self):
        """The local time that clocks would show if they had not been changed."""
        return (self.at + self.before).replace(tzinfo=None)

    @property
    def shown_after(self):
        return (self.at + self.after).replace(tzinfo=None)

    @property
    def days(self):
        """The local days around it that clocks show, from the one before to the one after."""
        first = min(self.shown_before, self.shown_after).date() - DAY
        last = max(self.shown_before, self.shown_after).date() + DAY
        days = [first + number * DAY for number in range((last - first).days + 1)]
        return [day for day in days if not self._skips(day)]

    def _skips(self, day: date) -> bool:
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
        return self.shown_before <= midnight and midnight + DAY <= self.shown_after


@cache
def all_changes():
    """Each change of each zone; zones that change alike are one."""
    found = {}
    for name in sorted({_data(name): name for name in sorted(zone_names())}.values()):
        for change in _changes(name):
            found.setdefault((change.at, change.before, change.after), change)
    return list(found.values())


def different_changes():
    """The changes that clocks show differently: triggers compute with local times."""
    return {(each.shown_before, each.shown_after): each for each in all_changes()}.values()


def _changes(name):
    zone = ZoneInfo(name)
    listed, rule = _listed(_data(name))
    # The rule at the end of the data changes clocks a few times a year, never within a week.
    ruled = range(max([BEGIN, *listed]), END, WEEK) if rule else ()
    moments = sorted({BEGIN, END, *(at - 1 for at in listed), *listed, *ruled})
    for earlier, later in pairwise(moments):
        before, after = _offset(zone, earlier), _offset(zone, later)
        if before != after:
            seconds = range(earlier, later + 1)
            at = seconds[bisect_left(seconds, True, key=lambda at: _offset(zone, at) != before)]
            yield Change(name, datetime.fromtimestamp(at, UTC), before, after)


def _listed(data):
    """The changes that TZif data list within our years, and whether a rule goes on (RFC 9636)."""
    file = io.BytesIO(data)
    for size in (4, 8):
        counts = struct.unpack(">4sc15x6l", file.read(44))[2:]
        utc, standard, leaps, times, kinds, letters = counts
        moments = struct.unpack(f">{times}{'l' if size == 4 else 'q'}", file.read(times * size))
        file.read(times + 6 * kinds + letters + (size + 4) * leaps + standard + utc)
    within = [at for at in moments if BEGIN <= at <= END]
    return within, b"," in file.read()


@cache
def _data(name):
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _offset(zone, at):
    return datetime.fromtimestamp(at, zone).utcoffset()
