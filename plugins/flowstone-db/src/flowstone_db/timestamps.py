"""Timestamps as databases hold them: typed ones, ISO 8601 texts, seconds since 1970."""

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
class StampForm:
    """How a column writes timestamps; within one form their order is that of the database.

    Attributes:
        kind: ``aware``, ``naive``, ``text`` or ``number``.
        separator: Between date and time of a text.
        offset: Of a text, such as ``Z``; empty if it has none.
        unit: How many of a number are one second.
    """

    kind: str
    separator: str = ""
    offset: str = ""
    unit: int = 1

    def write(self, moment: datetime, zone: tzinfo) -> object:
        """Write an aware moment in this form.

        Args:
            zone: Of timestamps that have none.
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


def form_of(value: object) -> StampForm:
    """Return the form of a timestamp.

    Raises:
        ValueError: If it is none: NULL, NaN, a date without a time, another text.
    """
    if isinstance(value, datetime):
        return StampForm("naive" if value.tzinfo is None else "aware")
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is not None:
            return StampForm("text", match["separator"], match["offset"] or "")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        for end, unit in _UNITS:
            if math.isfinite(value) and 0 <= value < end:
                return StampForm("number", unit=unit)
    if isinstance(value, date):
        raise ValueError("it is a date: rows that come later on that day would not be found")
    raise ValueError(
        f"{value!r:.80} is no timestamp: use a column of that type, ISO 8601 texts with a time, "
        "or seconds, milliseconds or microseconds since 1970"
    )


def date_of(value: object, zone: tzinfo) -> date:
    """Return the date of a timestamp in a zone; one that has no zone is in it already.

    Raises:
        ValueError: If it is no timestamp.
    """
    form = form_of(value)
    if form.kind == "number":
        return datetime.fromtimestamp(float(str(value)) / form.unit, zone).date()
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo is None else moment.astimezone(zone)).date()
