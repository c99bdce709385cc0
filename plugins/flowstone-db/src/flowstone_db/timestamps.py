"""Timestamp formats of databases: typed values, ISO 8601 texts, seconds since 1970."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal

_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d(?P<separator>[T ])\d\d:\d\d:\d\d(?:\.\d+)?(?P<offset>Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
# Seconds of the year 5138 are milliseconds of 1973, and so on.
_UNITS = ((10**11, 1), (10**14, 10**3), (10**17, 10**6))


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

    def write(self, moment: datetime, zone: tzinfo) -> object:
        """Return an aware time in this format.

        Args:
            zone: The time zone of timestamps without a zone.
        """
        if self.kind == "aware":
            return moment
        if self.kind == "number":
            return moment.timestamp() * self.unit
        if self.offset:
            zone = datetime.fromisoformat(f"2000-01-01T00:00:00{self.offset}").tzinfo or UTC
        plain = moment.astimezone(zone).replace(tzinfo=None)
        if self.kind == "naive":
            return plain
        return plain.isoformat(self.separator, "microseconds") + self.offset


def timestamp_format(value: object) -> TimestampFormat:
    """Return the format of a timestamp.

    Raises:
        ValueError: If the value is not a timestamp: NULL, NaN, a date without a time, another text.
    """
    if isinstance(value, datetime):
        return TimestampFormat("naive" if value.tzinfo is None else "aware")
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is not None:
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


def date_of(value: object, zone: tzinfo) -> date:
    """Return the date of a timestamp in a zone; a timestamp without a zone is already in it.

    Raises:
        ValueError: If the value is not a timestamp.
    """
    form = timestamp_format(value)
    if form.kind == "number":
        return datetime.fromtimestamp(float(str(value)) / form.unit, zone).date()
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo is None else moment.astimezone(zone)).date()
