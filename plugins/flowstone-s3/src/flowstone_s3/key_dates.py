"""Dates in keys, from a named folder to eight digits in a row, and the one that counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from flowstone_s3.unreadable import UnreadableKeyError

_DAY = r"(?P<{0}y>(?:19|20|21)\d\d)(?P<{0}s>{1})(?P<{0}m>\d\d)(?P={0}s)(?P<{0}d>\d\d)"
_DATES = re.compile(
    # Digests, UUIDs and other ids often hold eight digits in a row, that are not a date.
    r"(?P<opaque>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,}"
    r"|(?<![0-9a-z])(?=[0-9a-f]*\d[a-f])[0-9a-f]{9,}(?![0-9a-z]))"
    r"|(?<![A-Za-z0-9_])(?:\w*_)?y(?:yyy|ear)?=(?P<hy>\d{4})/(?:\w*_)?m(?:m|onth)?=(?P<hm>\d\d?)"
    r"/(?:\w*_)?d(?:d|ay)?=(?P<hd>\d\d?)(?![^/])"
    r"|(?<![^/])\w*(?:date|day|dt|ds|ymd)=" + _DAY.format("n", "-?") + r"(?=/)"
    r"|(?<!\d)" + _DAY.format("s", "[-/]") + r"(?!\d)"
    r"|(?<![^/])(?P<fy>(?:19|20|21)\d\d)/(?P<fm>\d\d?)/(?P<fd>\d\d?)(?=/)"
    r"|(?<!\d)(?<!\d\.)" + _DAY.format("u", "[._]") + r"(?!\d)"
    r"|(?<!\d)" + _DAY.format("t", "") + r"(?=t\d{4}(?:\d\d)?(?!\d)|t\d\dz"
    r"|(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d))"
    r"|(?<!\d)" + _DAY.format("p", "") + r"(?!\d)",
    re.ASCII | re.IGNORECASE,
)
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = rf"(?:{'|'.join(_NAMES)})[a-z]*"
_UNCLEAR = re.compile(
    # Day and month in either order, not padded, with the month's name, or digits with an hour.
    r"(?<![\d.])(?P<x1>\d\d?)(?P<x2>[-/._ ])(?P<x3>\d\d?)(?P=x2)(?P<x4>(?:19|20|21)\d\d)"
    r"(?!\d|(?P=x2)\d\d?(?P=x2)\d\d?(?!\d))"
    r"|(?<![\dv.])(?P<y1>(?:19|20|21)\d\d)[-/._ ](?P<y2>\d\d?)[-/._ ](?P<y3>\d\d?)(?!\d)"
    rf"|(?<!\d)(?P<a1>(?:19|20|21)\d\d)[-/._ ]?(?P<a2>{_NAME})[-/._ ]?(?P<a3>\d\d?)(?!\d)"
    rf"|(?<!\d)(?P<b3>\d\d?)[-/._ ]?(?P<b2>{_NAME})[-/._ ]?(?P<b1>(?:19|20|21)\d\d)(?!\d)"
    rf"|(?<![a-z])(?P<c2>{_NAME})[-/._ ]?(?P<c3>\d\d?)[-/._ ]+(?P<c1>(?:19|20|21)\d\d)(?!\d)"
    r"|(?<!\d)(?P<t1>(?:19|20|21)\d\d)(?P<t2>0[1-9]|1[0-2])(?P<t3>0[1-9]|[12]\d|3[01])"
    r"(?:[01]\d|2[0-3])(?:[0-5]\d)?(?!\d)",
    re.ASCII | re.IGNORECASE,
)
_FORMS = {"h": 5, "n": 5, "s": 4, "f": 3, "u": 3, "t": 2, "p": 1}
"""Strength of each form: named folder, separated date, another one, one with a time, digits."""

_UNCLEAR_BESIDE = (
    "a date in the key cannot be read, or not clearly, beside another one: set partition_pattern "
    "or partition_fn"
)
_SEVERAL = "two different dates in the key: set partition_pattern or partition_fn"


@dataclass(frozen=True, slots=True)
class KeyDate:
    """A date in a key.

    Attributes:
        text: The date as it stands in the key.
        strength: The strength of its form; the strongest counts.
    """

    day: date
    text: str
    strength: int


def dates_in_key(key: str) -> list[KeyDate]:
    """Return the valid dates in a key, the strongest form first.

    These are dates, from the strongest form to the weakest: in a named folder
    (``year=2025/month=1/day=15``, ``y=2025/m=01/d=15``; ``dt=2025-01-15/`` and other names that
    end in date, day, dt, ds or ymd); separated (``2025/01/15``, ``2025-01-15``); separated in
    another way (``2025/1/15/``, ``2025_01_15``, ``2025.01.15``); with a time (``20250115T0315Z``,
    ``20250115031500``); eight digits in a row (``20250115``). They are of the years 1900 to 2199
    and do not touch other digits. Digits in a UUID, a digest (16 or more hexadecimal digits) or
    another hexadecimal id with letters do not count.

    Example:
        >>> [found.text for found in dates_in_key("2024/01/02/order-20211105.json")]
        ['2024/01/02', '20211105']
    """
    found = list(_valid_dates(key))
    found.sort(key=lambda each: -each.strength)
    return found


def refuse_unclear(key: str, found: list[KeyDate]) -> None:
    """Refuse a key with a date that is not read, beside a readable one that is not stronger.

    ``01-02-2024`` has two readings, and ``2024-02-30`` none. If one of the readings is the date
    that counts, the key is clear.

    Raises:
        UnreadableKeyError: If there is one; the detail names both dates.
    """
    first = found[0]
    if first.strength > _FORMS["u"]:
        return
    for match in _UNCLEAR.finditer(key):
        groups = {name: text for name, text in match.groupdict().items() if text is not None}
        strength = _FORMS["t"] if "t1" in groups else _FORMS["u"]
        if strength >= first.strength and first.day not in _readings(groups):
            raise UnreadableKeyError(_UNCLEAR_BESIDE, f"{match[0]} and {first.text}")


def _readings(groups: dict[str, str]) -> set[date | None]:
    if "x1" in groups:
        one, two, year = groups["x1"], groups["x3"], groups["x4"]
        return {_date(year, one, two), _date(year, two, one)}
    year, month, day = (
        text for _, text in sorted((name[1], text) for name, text in groups.items())
    )
    if month.isalpha():
        month = str(_NAMES.index(month[:3].lower()) + 1)
    return {_date(year, month, day)}


def date_in_key(key: str) -> date | None:
    """Return the date in a key; None without one.

    Raises:
        UnreadableKeyError: If the strongest form stands for two different dates, or an unclear
            date is beside the one that counts.

    Example:
        >>> date_in_key("E1.2024-01-02-03.20190315.gz")
        datetime.date(2024, 1, 2)
    """
    found = dates_in_key(key)
    if not found:
        return None
    refuse_unclear(key, found)
    return strongest_date(found)


def strongest_date(found: list[KeyDate]) -> date:
    """Return the date that counts among those of a key, the strongest form first.

    Raises:
        UnreadableKeyError: If the strongest form stands for two different dates.
    """
    first = found[0]
    for other in found[1:]:
        if other.strength == first.strength and other.day != first.day:
            raise UnreadableKeyError(_SEVERAL, f"{first.text} and {other.text}")
    return first.day


def choice_of_date(found: list[KeyDate]) -> str:
    """Return the date that counts and a weaker one, in words; empty without a choice."""
    first = found[0]
    weaker = [other.text for other in found if other.day != first.day]
    return f"{first.text!r}, not {weaker[0]!r}" if weaker else ""


def _valid_dates(key: str) -> Iterator[KeyDate]:
    for match in _DATES.finditer(key):
        # The day is the last group of each form.
        form = (match.lastgroup or "")[:1]
        strength = _FORMS.get(form)
        if strength is not None:
            found = _date(*match.group(f"{form}y", f"{form}m", f"{form}d"))
            if found is not None:
                yield KeyDate(found, match[0], strength)


def _date(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
