"""Near date: a text that a person means as a date, and that is another partition."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from flowstone_core.model.date_text import read_date

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_AROUND = " \t\r\n'\"`\u2018\u2019\u201c\u201d\u200b\u200e\u200f\u2060\ufeff"
_TIME = (
    r"(?:[Tt_ ]+(?P<hour>\d{1,2})[:.]?(?P<minute>\d{2})(?:[:.]?(?P<second>\d{2})(?:[.,]\d+)?)?"
    r" *(?P<offset>[Zz]|UTC|GMT|[+-]\d{1,2}:?(?:\d{2})?)?)?"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_NAME = (
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_WEEKDAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +"
_FORMS = (
    re.compile(
        r"(?P<year>\d{4})(?P<by>[-/._ ])(?P<month>\d{1,2})(?P=by)(?P<day>\d{1,2})" + _TIME,
        re.ASCII,
    ),
    re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + _TIME, re.ASCII),
    re.compile(
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
        r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?P<offset>)",
        re.ASCII,
    ),
    re.compile(r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})" + _TIME, re.ASCII),
    re.compile(
        rf"(?:{_WEEKDAY})?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ .-]*(?P<name>{_NAME})[ .,-]*"
        r"(?P<year>\d{4})" + _TIME,
        re.ASCII | re.IGNORECASE,
    ),
    re.compile(
        rf"(?:{_WEEKDAY})?(?P<name>{_NAME})[ .-]*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?"
        r"(?:[ ,]+|-)(?P<year>\d{4})" + _TIME,
        re.ASCII | re.IGNORECASE,
    ),
    re.compile(
        rf"(?P<year>\d{{4}})[ ./-](?P<name>{_NAME})[ ./-](?P<day>\d{{1,2}})" + _TIME,
        re.ASCII | re.IGNORECASE,
    ),
)
_GO_ZONE = re.compile(r"(?<=[+-]\d{4}) (?:[A-Z]{3,4}|[+-]\d{2,4})(?: m=.*)?$", re.ASCII)
"""Name of the zone after its offset, as Go writes a time."""
_ORDERLESS = (
    re.compile(r"(?P<one>\d{1,2})(?P<by>[-/])(?P<two>\d{1,2})(?P=by)(?P<year>\d{4})", re.ASCII),
    re.compile(r"(?P<year>\d\d)(?P<by>[-/])(?P<two>\d\d)(?P=by)(?P<one>\d\d)", re.ASCII),
)
"""Dates whose order of day and month, or of year and day, is not written."""
_MONTH = re.compile(r"(\d{4})[-/._ ](\d{1,2})", re.ASCII)
_YEARS = range(1900, 2200)


def near_date(text: str) -> str | None:
    """Return the date that a text is nearly written as; None if it is one, or is not near one.

    Digits whose order is not clear have two dates: ``1/5/2025`` is of January or of May.

    Digits that no calendar has, such as ``20251399``, and years before 1900 or after 2199 are
    numbers and not dates.

    Example:
        >>> near_date("2025-1-5"), near_date("20250105"), near_date("2025-01-05 ")
        ('2025-01-05', '2025-01-05', '2025-01-05')
        >>> near_date("2025-01-05") is near_date("tenant-7") is None
        True
        >>> near_date("Jan 5 2025"), near_date("1/5/2025")
        ('2025-01-05', '2025-05-01 or 2025-01-05')
    """
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES).strip(_AROUND)
    try:
        if text == plain and read_date(text) is not None:
            return None
        plain = _GO_ZONE.sub("", plain)
        match = next(filter(None, (form.fullmatch(plain) for form in _FORMS)), None)
        return _in_either_order(plain) if match is None else _written(match.groupdict())
    except ValueError:  # not in the calendar
        return None


def near_month(text: str) -> str | None:
    """Return the first day of the month that a text names; None if it names none.

    Example:
        >>> near_month("2025-01"), near_month("2025-13")
        ('2025-01-01', None)
    """
    match = _MONTH.fullmatch(text.strip(_AROUND))
    return near_date(f"{match[1]}-{match[2]}-1") if match is not None else None


def _in_either_order(text: str) -> str | None:
    """Return the dates that digits of an unclear order may mean, joined by "or"."""
    match = next(filter(None, (form.fullmatch(text) for form in _ORDERLESS)), None)
    if match is None:
        return None
    one, two, year = match["one"], match["two"], match["year"]
    if len(year) == 4:
        readings = [(year, two, one), (year, one, two)]
    else:
        readings = [(f"20{year}", two, one), (f"20{one}", two, year)]
    return " or ".join(dict.fromkeys(found for each in readings if (found := _day(*each)))) or None


def _day(year: str, month: str, day: str) -> str | None:
    try:
        return _written({"year": year, "month": month, "day": day})
    except ValueError:
        return None


def _written(parts: dict[str, str | None]) -> str | None:
    if name := parts.get("name"):
        parts["month"] = str(_MONTHS.index(name[:3].lower()) + 1)
    names = ("year", "month", "day", "hour", "minute", "second")
    numbers = [int(parts.get(name) or 0) for name in names]
    at = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 - six integers
    if at.year not in _YEARS:
        return None
    if parts.get("hour") is None:
        return at.date().isoformat()
    seconds = "seconds" if at.second else "minutes"
    written = at.isoformat(timespec=seconds) + _offset(parts["offset"] or "")
    return written if read_date(written) is not None else None


def _offset(text: str) -> str:
    if not text.startswith(("+", "-")):
        return "Z" if text else ""
    hours, minutes = text[1:].partition(":")[::2]
    if len(hours) > 2:
        hours, minutes = hours[:-2], hours[-2:]
    return f"{text[0]}{hours:0>2}:{minutes or '00'}"
