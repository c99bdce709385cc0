"""Timestamp formats of databases: typed values, ISO 8601 texts, seconds since 1970."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from flowstone_core import partition_from_text

_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d(?P<separator>[T ])\d\d:\d\d:\d\d(?:\.\d+)?"
    r"(?P<offset> ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?",
    re.ASCII,
)
_ZERO_DATE = re.compile(r"0000|\d{4}-00|\d{4}-\d\d-00", re.ASCII)
# Seconds of the year 5138 are milliseconds of 1973, and so on.
_UNITS = ((10**11, 1), (10**14, 10**3), (10**17, 10**6))
_UNIT_NAMES = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds"}
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimestampFormat:
    """Format of a timestamp column; within one format, values sort as in the database.

    Attributes:
        kind: ``aware``, ``naive``, ``text`` or ``number``.
        separator: Between date and time of a text.
        offset: Of a text, such as ``Z``; empty if it has none.
        unit: Units per second of a number.
    """

    kind: str
    separator: str = ""
    offset: str = ""
    unit: int = 1

    def __str__(self) -> str:
        if self.kind == "number":
            return f"a number of {_UNIT_NAMES[self.unit]} since 1970"
        if self.kind == "text":
            return f"a text such as '2025-01-15{self.separator}08:30:00{self.offset}'"
        return f"a timestamp {'with' if self.kind == 'aware' else 'without'} a time zone"

    @property
    def has_zone(self) -> bool:
        """Whether a value names an instant without a setting."""
        return self.kind in {"aware", "number"} or bool(self.offset)

    def write(self, moment: datetime, zone: tzinfo) -> object:
        """Return an aware time as a bound: all values of this format below are earlier.

        Args:
            zone: The time zone of timestamps without a zone.
        """
        if self.kind == "aware":
            return moment
        if self.kind == "number":
            return moment.timestamp() * self.unit
        if self.offset:
            written = partition_from_text(f"2000-01-01T00:00:00{self.offset}")
            zone = (isinstance(written, datetime) and written.tzinfo) or UTC
        return self.write_wall(moment.astimezone(zone).replace(tzinfo=None))

    def write_wall(self, wall: datetime) -> object:
        """Return the time that a clock on the wall shows as a bound, as `write` does."""
        if self.kind == "naive":
            return wall
        # Without zeros at its end and an offset: texts of the same time, with either, come after.
        text = wall.isoformat(self.separator, "microseconds")
        return text.rstrip("0").rstrip(".")


def timestamp_format(value: object) -> TimestampFormat:
    """Return the format of a timestamp.

    Raises:
        ValueError: If the value is not a timestamp: NULL, NaN, a date without a time, a zero date
            of MySQL, an invalid date, another text.
    """
    if isinstance(value, datetime):
        return TimestampFormat("naive" if value.tzinfo is None else "aware")
    if isinstance(value, str):
        if _ZERO_DATE.match(value):
            raise ValueError(
                f"{value!r:.80} is a zero date: it is before all times, and would never be found "
                "(correct it, or leave it out with a query)"
            )
        match = _TEXT.fullmatch(value)
        if match is not None:
            partition_from_text(value)  # there may be a 13th month
            return TimestampFormat("text", match["separator"], match["offset"] or "")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        for end, unit in _UNITS:
            if math.isfinite(value) and 0 <= value < end:
                return TimestampFormat("number", unit=unit)
    if isinstance(value, date):
        raise ValueError("a date has no time: rows of later that day would not be found")
    raise ValueError(
        f"invalid timestamp {value!r:.80}: use a timestamp column, ISO 8601 texts with a time, "
        "or seconds, milliseconds or microseconds since 1970"
    )


def wall_time(value: object) -> datetime:
    """Return a timestamp without a zone, or the local time of one with a zone.

    Raises:
        ValueError: If the value is not a timestamp, or is a number.
    """
    found = partition_from_text(value) if isinstance(value, str) else value
    if isinstance(found, datetime):
        return found
    raise ValueError(f"invalid timestamp {value!r:.80}")


def date_of(value: object, zone: tzinfo) -> date:
    """Return the date of a timestamp in a zone; a timestamp without a zone is already in it.

    Raises:
        ValueError: If the value is not a timestamp.
    """
    form = timestamp_format(value)
    if form.kind == "number":
        return datetime.fromtimestamp(float(str(value)) / form.unit, zone).date()
    moment = wall_time(value)
    return (moment if moment.tzinfo is None else moment.astimezone(zone)).date()


def instant_of(value: object, zone: tzinfo) -> datetime:
    """Return the instant of a timestamp; one without a zone is in the given zone.

    Raises:
        ValueError: If the value is not a timestamp.
    """
    form = timestamp_format(value)
    if form.kind == "number":
        return datetime.fromtimestamp(float(str(value)) / form.unit, UTC)
    moment = wall_time(value)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


def resolution(value: object) -> timedelta:
    """Return the resolution of a column, judged by one of its timestamps: 1 s to 1 us, by tens.

    A time in whole seconds (or tenths) among microseconds is taken for one of a column of whole
    seconds (or tenths): its row waits for a second at most.

    Raises:
        ValueError: If the value is not a timestamp.
    """
    digits = f"{instant_of(value, UTC).microsecond:06}".rstrip("0")
    return timedelta(microseconds=int("1".ljust(7 - len(digits), "0")))


def floor(moment: datetime, step: timedelta) -> datetime:
    """Return the last moment of a resolution: a whole second, tenth, and so on."""
    return moment - timedelta(microseconds=moment.microsecond % (step // _MICROSECOND))
