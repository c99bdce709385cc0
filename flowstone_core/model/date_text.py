"""Date texts: the only reader of dates and times that a source or a person has written.

Databases, .NET, Go, Java and Ruby write one instant in several ways: ``02:00Z``, ``02:00:00+00``,
``02:00:00.0000000+0000``, ``02:00:00 UTC``. All of them are one value here, so that one day, or one
hour, is one partition, whichever sensor, schedule, backfill or command named it.
"""

from __future__ import annotations

import re
from datetime import date, datetime

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2})"
    r"(?::(?P<seconds>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"(?: ?(?P<offset>[Zz]|UTC|[+-]\d{2}(?::?[0-5]\d)?))?",
    re.ASCII,
)
_UTC = ("Z", "z", "UTC")


def looks_like_a_date(text: str) -> bool:
    """Return True for the form of a date, or of a date with a time; the date may be invalid."""
    return bool(_DATE.fullmatch(text) or _DATETIME.fullmatch(text))


def read_date(text: str) -> date | datetime | None:
    """Read a date or a datetime, or return None for another text.

    Digits after the microseconds are cut off.

    Raises:
        ValueError: If the text has the form of a date and is not one, such as 2025-02-30.

    Example:
        >>> read_date("2025-01-15")
        datetime.date(2025, 1, 15)
        >>> read_date("2025-01-15 02:00:00.0000000+0000")
        datetime.datetime(2025, 1, 15, 2, 0, tzinfo=datetime.timezone.utc)
        >>> read_date("tenant-7") is None
        True
    """
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    match = _DATETIME.fullmatch(text)
    if match is None:
        return None
    offset = match["offset"] or ""
    offset = "+00:00" if offset in _UTC else offset
    if len(offset) == 5 and ":" not in offset:
        offset = f"{offset[:3]}:{offset[3:]}"
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    return datetime.fromisoformat(
        f"{match['date']}T{match['time']}:{match['seconds'] or '00'}.{fraction}{offset}"
    )
