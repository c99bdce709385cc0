"""Partition range: the partitions from a first to a last one, one step apart.

`partition_range` has those of dates and datetimes. Ranges of local days, and of the texts that a
schedule's template writes, need time zones: `flowstone_core.scheduling.local_range`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Generic, Protocol, TypeAlias, TypeVar

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
M = TypeVar("M", date, datetime)

_STEPS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_WORDS = {step: word for word, step in _STEPS.items()}
_MONTHS = {"month": 1, "year": 12}
_DATE = "a date"
_DAY = timedelta(days=1)
_SMALLEST = timedelta(milliseconds=1)
_ALLOWED = (
    "dates go by day, week, month, year or whole days such as 2d; "
    "datetimes by minute, hour, day, week, month, year or a duration such as 15m"
)


class Partitions(Protocol):
    """Partitions in order: a tuple, or `Steps`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Partition]: ...


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """Partition range: the partitions from a first to a last one, one step apart.

    Attributes:
        first: The first partition; an aware datetime is in UTC.
        last: Upper bound of the last partition.
        every: Canonical text of the step: ``60m`` is ``hour``.
        partitions: The partitions; at least the first one.
    """

    first: Partition
    last: Partition
    every: str
    partitions: Partitions

    def __len__(self) -> int:
        return len(self.partitions)

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.partitions)

    @property
    def end(self) -> Partition:
        """The last partition of the range; before `last` if no step leads there."""
        return deque(self.partitions, maxlen=1)[0]


@dataclass(frozen=True, slots=True)
class Steps(Generic[M]):
    """Dates or datetimes at equal steps, computed when they are read.

    Attributes:
        first: The first one.
        last: Upper bound of the last one.
        step: The step as a duration; None for months.
        months: Number of months in a step; 0 for a duration.
    """

    first: M
    last: M
    step: timedelta | None
    months: int = 0

    def __len__(self) -> int:
        if self.step is not None:
            return (self.last - self.first) // self.step + 1
        months = _month(self.last) - _month(self.first)
        begin, end = ((each.day, _time(each)) for each in (self.first, self.last))
        return (months - (end < begin)) // self.months + 1

    def __iter__(self) -> Iterator[M]:
        return map(self._at, range(len(self)))

    def _at(self, number: int) -> M:
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
            datetimes also ``hour`` (which they go by if it is None), ``minute``; or a duration.
            Aware datetimes go by UTC; `local_range` has local days.

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
    begin, end = read_ends(first, last)
    step = read_step(every if every is not None else "day" if _kind(begin) == _DATE else "hour")
    if step.size is not None and _kind(begin) == _DATE and step.size % _DAY:
        raise ValidationError(f"dates cannot go by {step.text}: {_ALLOWED}")
    check_day(begin, step)
    found = PartitionRange(begin, end, step.text, Steps(begin, end, step.size, step.months))
    check_size(len(found), begin, end, step.text)
    return found


def read_ends(first: Partition, last: Partition) -> tuple[Moment, Moment]:
    """Return the ends of a range as the store has them: plain, and aware datetimes in UTC.

    Raises:
        ValidationError: If they are of two kinds, have no order, or the last lies before the first.
    """
    begin, end = _moment(first), _moment(last)
    if _kind(begin) != _kind(end):
        raise ValidationError(
            f"the first partition, {format_partition(begin)}, is {_kind(begin)}, "
            f"and the last, {format_partition(end)}, {_kind(end)}: both must be of one kind"
        )
    if begin > end:
        raise is_after(begin, end)
    return begin, end


def is_after(first: Partition, last: Partition) -> ValidationError:
    """Return the error of a range whose last partition lies before its first."""
    return ValidationError(
        f"the first partition, {format_partition(first)}, is after the last, "
        f"{format_partition(last)}"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """Step between two partitions: a duration, or a number of months.

    Attributes:
        text: Canonical text: ``60m`` is ``hour``.
        size: The duration; None for months.
        months: Number of months; 0 for a duration.
        calendar: True for the words ``day``, ``week``, ``month`` and ``year``: a local day may
            have 23 hours, where ``24h`` never has.
    """

    text: str
    size: timedelta | None
    months: int = 0
    calendar: bool = False


def read_step(every: str | timedelta) -> Step:
    """Return a step, from a word, a duration or its text.

    Raises:
        ValidationError: If the step is invalid; the message lists the allowed forms.
    """
    word = every.strip().lower() if isinstance(every, str) else ""
    if word in _MONTHS:
        return Step(word, None, _MONTHS[word], calendar=True)
    size = _STEPS.get(word) or (_duration(every) if isinstance(every, str) else every)
    if size < _SMALLEST or size % _SMALLEST:
        raise ValidationError(
            f"invalid step {size}: must be a whole number of milliseconds, at least 1"
        )
    return Step(_WORDS.get(size) or format_duration(size), size, calendar=word in {"day", "week"})


def check_day(first: Moment, step: Step) -> None:
    """Raise if a range by months or years would come to one that lacks the first day.

    Raises:
        ValidationError: The message names the days to begin with.
    """
    if step.months and first.day > (28 if step.months == 1 or first.month == 2 else 31):
        raise ValidationError(
            f"not every {step.text} has the day of {format_partition(first)}: "
            "begin with one of the first 28 of its month"
        )


def check_size(count: int, first: Partition, last: Partition, every: str) -> None:
    """Raise if a range has too many partitions.

    Raises:
        ValidationError: If there are more than `LIMIT`.
    """
    if count > LIMIT:
        raise ValidationError(
            f"every {every} from {format_partition(first)} to {format_partition(last)} there "
            f"are {count:,} partitions; at most {LIMIT:,} are allowed at once"
        )


def _moment(value: Partition) -> Moment:
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
        return _DATE
    return "a naive datetime" if value.tzinfo is None else "an aware datetime"


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValidationError:
        hint = did_you_mean(text.strip().lower(), [*_STEPS, *_MONTHS])
        raise ValidationError(
            Problem(f"invalid step {printable(text, 80)!r}: {_ALLOWED}", hint=hint)
        ) from None


def _time(moment: Moment) -> time:
    return moment.time() if isinstance(moment, datetime) else time.min


def _month(day: Moment) -> int:
    return day.year * 12 + day.month - 1
