"""Partition range: the partitions from a first to a last one, one step apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeAlias

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.duration import format_duration, parse_duration
from flowstone_core.model.partition import (
    Partition,
    decode_partition,
    encode_partition,
    format_partition,
)
from flowstone_core.model.safe_text import printable

LIMIT = 100_000
"""Maximum number of partitions of one range."""

Moment: TypeAlias = date | datetime

_STEPS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_WORDS = {step: word for word, step in _STEPS.items()}
_MONTHS = {"month": 1, "year": 12}
_DAY = timedelta(days=1)
_SMALLEST = timedelta(milliseconds=1)
_ALLOWED = (
    "dates go by day, week, month, year or whole days such as 2d; "
    "datetimes by minute, hour, day, week or a duration such as 15m"
)


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """Partition range: a lazy sequence of partitions, one step apart.

    Attributes:
        first: The first partition; an aware datetime is in UTC.
        last: Upper bound of the last partition.
        every: Canonical text of the step: ``60m`` is ``hour``.
        step: The step as a duration; None for months.
        months: Number of months in a step; 0 for a duration.
    """

    first: Moment
    last: Moment
    every: str
    step: timedelta | None
    months: int = 0

    def __len__(self) -> int:
        if self.step is not None:
            # Both are dates, or both datetimes of one kind, which no type says.
            elapsed: timedelta = self.last - self.first  # type: ignore[operator]
            return elapsed // self.step + 1
        months = _month(self.last) - _month(self.first)
        if self.last.day < self.first.day:
            months -= 1
        return months // self.months + 1

    def __iter__(self) -> Iterator[Moment]:
        return map(self._at, range(len(self)))

    def _at(self, number: int) -> Moment:
        if self.step is not None:
            return self.first + number * self.step
        year, month = divmod(_month(self.first) + number * self.months, 12)
        return self.first.replace(year=year, month=month + 1)


def partition_range(
    first: Partition, last: Partition, every: str | timedelta | None = None
) -> PartitionRange:
    """Return the partitions from ``first`` to ``last``, both included.

    Args:
        first: A date, an aware datetime or a naive one.
        last: Of the same kind, and not before it.
        every: ``day`` (which dates go by if it is None), ``week``, ``month``, ``year``; for
            datetimes ``hour`` (which they go by if it is None), ``minute``, ``day``, ``week``;
            or a duration. Datetimes go by elapsed time, in UTC.

    Raises:
        ValidationError: If a partition or the step is invalid, if the last lies before the first,
            if a month or a year would lack a day, or if there are more than `LIMIT`.

    Example:
        >>> from datetime import date
        >>> days = partition_range(date(2025, 1, 30), date(2025, 2, 1))
        >>> [day.isoformat() for day in days]
        ['2025-01-30', '2025-01-31', '2025-02-01']
        >>> len(partition_range(date(2025, 1, 1), date(2025, 12, 31), "month"))
        12
    """
    begin, end = _moment(first), _moment(last)
    if _kind(begin) != _kind(end):
        raise ValidationError(
            f"the first partition, {format_partition(begin)}, is {_kind(begin)}, "
            f"and the last, {format_partition(end)}, {_kind(end)}: both must be of one kind"
        )
    if begin > end:
        raise ValidationError(
            f"the first partition, {format_partition(begin)}, is after the last, "
            f"{format_partition(end)}"
        )
    found = _stepped(begin, end, every)
    if len(found) > LIMIT:
        raise ValidationError(
            f"every {found.every} from {format_partition(begin)} to {format_partition(end)} there "
            f"are {len(found):,} partitions; at most {LIMIT:,} are allowed at once"
        )
    return found


def _moment(value: Partition) -> Moment:
    # As the store has it: no subclass, and in UTC.
    plain = decode_partition(encode_partition(value))
    if isinstance(plain, date):
        return plain
    what = "a tuple" if isinstance(plain, tuple) else "a string"
    raise ValidationError(
        f"{format_partition(plain)} is {what}, which nothing comes after: "
        "a range is from a date to a date, or from a datetime to a datetime"
    )


def _kind(value: Moment) -> str:
    if not isinstance(value, datetime):
        return "a date"
    return "a naive datetime" if value.tzinfo is None else "an aware datetime"


def _stepped(first: Moment, last: Moment, every: str | timedelta | None) -> PartitionRange:
    is_date = not isinstance(first, datetime)
    if every is None:
        every = "day" if is_date else "hour"
    if isinstance(every, str):
        word = every.strip().lower()
        if word in _MONTHS:
            return _by_months(first, last, word)
        every = _STEPS.get(word) or _duration(every)
    text = _WORDS.get(every) or format_duration(every)
    if every < _SMALLEST or every % _SMALLEST:
        raise ValidationError(
            f"invalid step {every}: must be a whole number of milliseconds, at least 1"
        )
    if is_date and every % _DAY:
        raise ValidationError(f"dates cannot go by {text}: {_ALLOWED}")
    return PartitionRange(first, last, text, every)


def _by_months(first: Moment, last: Moment, word: str) -> PartitionRange:
    if isinstance(first, datetime):
        raise ValidationError(f"datetimes cannot go by {word}: {_ALLOWED}")
    months = _MONTHS[word]
    if first.day > (28 if word == "month" or first.month == 2 else 31):
        raise ValidationError(
            f"not every {word} has the day of {first}: begin with one of the first 28 of its month"
        )
    return PartitionRange(first, last, word, None, months)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValidationError:
        hint = did_you_mean(text.strip().lower(), [*_STEPS, *_MONTHS])
        raise ValidationError(
            Problem(f"invalid step {printable(text, 80)!r}: {_ALLOWED}", hint=hint)
        ) from None


def _month(day: Moment) -> int:
    return day.year * 12 + day.month - 1
