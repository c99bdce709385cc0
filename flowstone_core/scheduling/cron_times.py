"""Cron times: the local times of a cron expression, by arithmetic on the numbers of its fields.

croniter reads the numbers. A day is found in a bit mask of its month, a time of the day in tables
that have the first number of a field from each number on.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal, TypeAlias

from flowstone_core.scheduling.cron_field import ParsedField
from flowstone_core.scheduling.zone_table import DAY

_HOUR, _MINUTE = 3_600, 60
_EPOCH = date(1970, 1, 1).toordinal()
_LAST_YEAR = 9_999
_LAST_DAY = date.max.toordinal() - _EPOCH
_WEEK = 7
_FEBRUARY, _DECEMBER = 2, 12
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EACH_WEEK = sum(1 << day for day in range(0, 31, _WEEK))
_ENDS = 99  # larger than every number of a field

Numbers: TypeAlias = Sequence[int | Literal["*", "l"]]
"""Numbers of a field as croniter returns them; one ``*`` stands for all."""

Occurrences: TypeAlias = Mapping[int, Iterable[int | Literal["l"]]]
"""Occurrences in a month by their weekday, as croniter returns them: 1 to 5, ``l`` for the last."""

Weekday: TypeAlias = tuple[int, int | Literal["l"] | None]
"""A weekday (0 is Sunday) and its occurrence in a month; None for each."""


@dataclass(frozen=True, slots=True)
class DayRule:
    """Rule for the days of a month: the two day fields of an expression.

    Attributes:
        days: The days of the month, as a bit mask; bit 0 is the first.
        last: True for the last day as well.
        weekdays: The weekdays.
        both: True if a day must match both fields; False if either will do.
    """

    days: int
    last: bool
    weekdays: tuple[Weekday, ...]
    both: bool

    def mask(self, length: int, first: int) -> int:
        """Return the days of a month as a bit mask.

        Args:
            length: The number of its days.
            first: The weekday of its first day.
        """
        month = (1 << length) - 1
        days = self.days & month
        if self.last:
            days |= 1 << (length - 1)
        weekdays = 0
        for weekday, occurrence in self.weekdays:
            start = (weekday - first) % _WEEK
            if occurrence is None:
                weekdays |= _EACH_WEEK << start
            elif occurrence == "l":
                weekdays |= 1 << (start + (length - 1 - start) // _WEEK * _WEEK)
            else:
                weekdays |= 1 << (start + (occurrence - 1) * _WEEK)
        return days & weekdays if self.both else (days | weekdays) & month


class CronTimes:
    """Local times of a cron expression; may be used from any thread.

    Args:
        seconds: Its seconds.
        minutes: Its minutes.
        hours: Its hours.
        months: Its months.
        rule: Its days.
    """

    def __init__(
        self, seconds: Numbers, minutes: Numbers, hours: Numbers, months: Numbers, rule: DayRule
    ) -> None:
        self._seconds = _table(_mask(seconds, 0, 59))
        self._minutes = _table(_mask(minutes, 0, 59))
        self._hours = _table(_mask(hours, 0, 23))
        self._months = _table(_mask(months, 1, 12))
        self._rule = rule
        self._masks: dict[tuple[int, int], int] = {}  # 28 kinds of months at most
        # The month of the last search: its first day, the day after it, and its bit mask.
        self._month = (0, 0, 0)
        self._in_minute = self._seconds[0]
        self._in_hour = self._minutes[0] * _MINUTE + self._in_minute
        self._in_day = self._hours[0] * _HOUR + self._in_hour

    @property
    def exist(self) -> bool:
        """True if there is any: some month has such a day."""
        months = [month for month in range(1, 13) if self._months[month] == month]
        lengths = {_LENGTHS[month] for month in months} | ({29} if _FEBRUARY in months else set())
        return any(self._mask(length, first) for length in lengths for first in range(_WEEK))

    def following(self, wall: int) -> int | None:
        """Return the first local time that is strictly later than another, in seconds since 1970.

        Returns:
            None if there is none before the year 10000.
        """
        day, rest = divmod(wall + 1, DAY)
        begin, end, mask = self._month
        if not begin <= day < end:
            if day > _LAST_DAY:
                return None
            begin, _, mask = self._load(day)
        if mask >> (day - begin) & 1:
            hour, rest = divmod(rest, _HOUR)
            found = self._hours[hour]
            if found == hour:
                minute, second = divmod(rest, _MINUTE)
                found = self._minutes[minute]
                if found == minute:
                    later = self._seconds[second]
                    if later < _ENDS:
                        return day * DAY + hour * _HOUR + minute * _MINUTE + later
                    found = self._minutes[minute + 1]
                if found < _ENDS:
                    return day * DAY + hour * _HOUR + found * _MINUTE + self._in_minute
                found = self._hours[hour + 1]
            if found < _ENDS:
                return day * DAY + found * _HOUR + self._in_hour
        found_day = self._following_day(day, begin, mask)
        return None if found_day is None else found_day * DAY + self._in_day

    def _following_day(self, day: int, begin: int, mask: int) -> int | None:
        """Return the first day that is later than a day of a month; None if there is none."""
        later = mask >> (day - begin + 1)
        if later:
            return day + (later & -later).bit_length()
        at = date.fromordinal(day + _EPOCH)
        year, month = at.year, at.month
        while year <= _LAST_YEAR:
            month = self._months[month + 1]
            if month == _ENDS:
                year, month = year + 1, 0
                continue
            begin, end, mask = self._month_of(year, month)
            if mask:
                self._month = (begin, end, mask)
                return begin + (mask & -mask).bit_length() - 1
        return None

    def _load(self, day: int) -> tuple[int, int, int]:
        at = date.fromordinal(day + _EPOCH)
        begin, end, mask = self._month_of(at.year, at.month)
        if self._months[at.month] != at.month:
            mask = 0
        self._month = loaded = (begin, end, mask)
        return loaded

    def _month_of(self, year: int, month: int) -> tuple[int, int, int]:
        length = _LENGTHS[month] + (month == _FEBRUARY and isleap(year))
        ordinal = date(year, month, 1).toordinal()
        begin = ordinal - _EPOCH
        return begin, begin + length, self._mask(length, ordinal % _WEEK)

    def _mask(self, length: int, first: int) -> int:
        mask = self._masks.get((length, first))
        if mask is None:
            mask = self._masks[length, first] = self._rule.mask(length, first)
        return mask


def cron_times(fields: Sequence[ParsedField]) -> CronTimes:
    """Return the local times of an expression.

    Args:
        fields: Its six fields, the second before the others.
    """
    from croniter import croniter

    *_, day, _, weekday = fields
    texts = [each.canonical for each in fields]
    if day.special:  # beside a * for the weekday, croniter takes 1-29,31,L for every day
        texts[-1] = weekday.text
    if texts[0] == "0":
        del texts[0]
    text = " ".join(texts)
    numbers, occurrences = croniter.expand(text, second_at_beginning=True)
    minutes, hours, days, months, weekdays, *rest = numbers
    rule = DayRule(
        _mask(days, 1, 31) >> 1,
        last="l" in days,
        weekdays=_weekdays(weekdays, occurrences),
        both=day.starred or weekday.starred,
    )
    return CronTimes(rest[0] if rest else (0,), minutes, hours, months, rule)


def _weekdays(numbers: Numbers, occurrences: Occurrences) -> tuple[Weekday, ...]:
    if occurrences:  # the numbers are those of the occurrences
        return tuple((day, each) for day, found in occurrences.items() for each in found)
    mask = _mask(numbers, 0, 6)
    return tuple((day, None) for day in range(_WEEK) if mask >> day & 1)


def _mask(numbers: Numbers, low: int, high: int) -> int:
    """Return the numbers of a field as a bit mask."""
    if "*" in numbers:
        return (2 << high) - (1 << low)
    return sum([1 << number for number in numbers if isinstance(number, int)])


@lru_cache(maxsize=1024)
def _table(mask: int) -> tuple[int, ...]:
    """Return the first number of a mask that is not before a number, for each number."""
    table = [_ENDS]
    for number in reversed(range(_MINUTE + 1)):
        table.append(number if mask >> number & 1 else table[-1])
    return tuple(reversed(table))
