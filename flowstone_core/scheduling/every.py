"""Interval trigger: computes the instants of a fixed interval, written in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.duration import format_duration, parse_duration
from flowstone_core.model.safe_text import printable
from flowstone_core.scheduling.clock_rules import fixed_local, next_elapsed, next_fixed
from flowstone_core.scheduling.trigger import Trigger, require_aware
from flowstone_core.scheduling.zone_table import seconds_of, wall_of, zone_table

if TYPE_CHECKING:
    from schedule import Job

LONGEST = timedelta(days=3_653)
"""Longest interval: ten years."""

_ANCHOR = datetime(2001, 1, 1)  # noqa: DTZ001 - local, a Monday: what every interval counts from
_WORDS = re.compile(r"(?:([0-9]+) )?([a-z]+)(?: at ([0-9:]+))?")
_TEXT_LIMIT = 100
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SIZES = {
    "seconds": timedelta(seconds=1),
    "minutes": timedelta(minutes=1),
    "hours": timedelta(hours=1),
    "days": timedelta(days=1),
    "weeks": timedelta(weeks=1),
}
_UNITS = (*_SIZES, *(unit.removesuffix("s") for unit in _SIZES), *_WEEKDAYS)
_TIMES = {
    "minutes": ":30 (second)",
    "hours": ":15 (minute) or 15:30 (minute and second)",
    "days": "10:30 or 10:30:15",
}
_RANGE = "must be from one second to ten years"
_ALLOWED = (
    "write an interval such as 30 seconds, 10 minutes, 2 hours, hour at :15, day at 10:30, "
    "monday at 08:00, 2 weeks, or a duration such as 1h30m or PT15M"
)


@dataclass(frozen=True, slots=True)
class _Interval:
    """Interval and offset.

    Attributes:
        step: The time between two instants, or between two local times.
        offset: The time from the anchor to the first instant.
        unit: The unit of the text, a key of `_SIZES`; empty for a duration.
        at: True if the text has a time.
    """

    step: timedelta
    offset: timedelta = timedelta(0)
    unit: str = ""
    at: bool = False


class EveryTrigger(Trigger):
    """Interval trigger: fires at multiples of an interval since Monday, 1 January 2001.

    They are counted from 00:00 of that day in the trigger's time zone, so instants depend neither
    on the start of a process nor on the last fire time. The grammar
    is that of the package schedule, in small or capital letters:

    - ``30 seconds``, ``10 minutes``, ``2 hours``, ``hour``: elapsed time, whatever clocks
      do; durations such as ``1h30m``, ``1d`` (24 hours) and ``PT15M`` too.
    - ``minute at :30``, ``hour at :15``, ``2 hours at 15:30`` (minute and second): whenever clocks
      show it, so twice in an hour that clocks repeat, and never in one that they skip.
    - ``day``, ``day at 10:30``, ``3 days at 06:00:15``, ``week``, ``2 weeks``, ``monday at 08:00``:
      once on each such date, at 00:00 where no time is written; right after a gap that the time
      falls into, and in the first pass of a time that comes twice; never on a date that clocks
      skip as a whole.

    Args:
        text: The interval.
        timezone: An IANA name.

    Raises:
        ValidationError: If the text is invalid, if the interval is shorter than a second or longer
            than ten years, or if the time zone is unknown.

    Example:
        >>> from datetime import UTC
        >>> trigger = EveryTrigger("day at 10:30", "Europe/Warsaw")
        >>> trigger.next_fire(datetime(2026, 3, 28, 12, tzinfo=UTC)).isoformat()
        '2026-03-29T10:30:00+02:00'
    """

    def __init__(self, text: str, timezone: str = "UTC") -> None:
        super().__init__(text, timezone)
        if len(self.text) > _TEXT_LIMIT:
            raise _refusal(self.text, f"more than {_TEXT_LIMIT} characters")
        words = " ".join(self.text.split()).lower()
        match = _WORDS.fullmatch(words)
        if match:
            self._described = words
            self._interval = _in_words(self.text, match)
        else:
            duration = _duration(self.text)
            self._described = format_duration(duration)
            self._interval = _Interval(duration)
        if not timedelta(seconds=1) <= self._interval.step <= LONGEST:
            raise _refusal(self.text, _RANGE)
        self._dated = self._interval.unit in ("days", "weeks")
        self._step = self._interval.step // _SIZES["seconds"]
        # Elapsed time counts from an instant, all else from a local time.
        begin = _ANCHOR + self._interval.offset
        elapsed = not (self._dated or self._interval.at)
        self._begin = seconds_of(begin.replace(tzinfo=self.zone)) if elapsed else wall_of(begin)
        self._table = zone_table(self.zone)

    def next_fire(self, after: datetime) -> datetime | None:
        """Return the first instant of the interval that is strictly later than ``after``.

        Args:
            after: Aware.

        Returns:
            In the trigger's zone; None if there is none that a datetime can hold.

        Raises:
            ValidationError: If ``after`` is naive.
        """
        require_aware(after)
        if self._dated:
            return next_fixed(self._following, self._table, after)
        if self._interval.at:
            return next_elapsed(self._following, self._table, after)
        try:
            instant = self._following(seconds_of(after))
            period = self._table.at(instant)
            return self._table.local(instant + period.offset, period)
        except OverflowError:
            return None

    def local_time(self, instant: datetime) -> datetime:
        """Return an instant as a local time of the day whose time it is, if clocks skip that."""
        if self._dated:
            return fixed_local(self._following, self._table, instant)
        return super().local_time(instant)

    def describe(self) -> str:
        """Return the interval in words, such as ``every day at 10:30``."""
        return f"every {self._described}"

    def _following(self, after: int) -> int:
        return self._begin + ((after - self._begin) // self._step + 1) * self._step


def _in_words(text: str, match: re.Match[str]) -> _Interval:
    """Parse an interval by the grammar of the package schedule."""
    count, unit, at = int(match[1] or 1), match[2], match[3]
    if count > 1 and unit.removesuffix("s") in _WEEKDAYS:
        hint = f"a weekday comes every week; '{count} weeks' counts Mondays"
        raise _refusal(text, f"weekday counted {count} times", hint)
    if unit not in _UNITS:
        raise _refusal(text, f"unknown unit {unit!r:.40}", did_you_mean(unit, _UNITS))
    if not 1 <= count <= LONGEST // _SIZES["seconds"]:  # schedule would hang on 0
        raise _refusal(text, _RANGE)
    job = _job(text, count, unit, at)
    offset = timedelta(0)
    if job.start_day:
        offset += timedelta(days=_WEEKDAYS.index(job.start_day))
    if job.at_time:
        time = job.at_time
        offset += timedelta(hours=time.hour, minutes=time.minute, seconds=time.second)
    size = str(job.unit)
    return _Interval(job.interval * _SIZES[size], offset, size, at is not None)


def _job(text: str, count: int, unit: str, at: str | None) -> Job:
    from schedule import IntervalError, Scheduler, ScheduleValueError

    # Never given a function: a job that has one reads the wall clock.
    try:
        job: Job = getattr(Scheduler().every(count), unit)
    except IntervalError:
        why, hint = f"unit {unit!r} after {count}", f"did you mean '{count} {unit}s'?"
        raise _refusal(text, why, hint) from None
    try:
        return job if at is None else job.at(at)
    except ScheduleValueError:
        times = _TIMES.get("days" if job.start_day else str(job.unit))
        allowed = f"{times} is allowed" if times else f"{job.unit} take none"
        raise _refusal(text, f"time {at!r:.40}, where {allowed}") from None


def _duration(text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValidationError:
        random = re.search(r"\bto\b", text)
        hint = "an interval is not random; spread schedules by jitter" if random else ""
        raise _refusal(text, "unknown form", hint) from None
    if duration.microseconds:
        raise _refusal(text, "must be whole seconds")
    return duration


def _refusal(text: str, why: str, hint: str = "") -> ValidationError:
    shown = printable(repr(text), 80)
    return ValidationError(Problem(f"invalid interval {shown}: {why}; {_ALLOWED}", hint=hint))
