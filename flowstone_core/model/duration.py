"""Duration: parses and formats ``30s``, ``1h30m``, ``500ms`` and ISO 8601 ``PT1M30S``.

No library reads both forms and refuses the ambiguous ones (a bare ``5``, a negative, ``1M``),
so the grammar is defined here. Months and years have no fixed length and are refused.
"""

from __future__ import annotations

import re
from datetime import timedelta

from flowstone_core.errors import ValidationError

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SHORT = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d|w))+")
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")
_ISO = re.compile(
    r"P(?:([0-9]{1,9})W|(?:([0-9]{1,9})D)?(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?"
    r"(?:([0-9]{1,9})(?:\.([0-9]{1,6}))?S)?)?)"
)
_ALLOWED = (
    "use 30s, 5m, 1h30m, 2d or ISO 8601 such as PT1M30S; months and years have no fixed length"
)


def parse_duration(text: str) -> timedelta:
    """Read a duration.

    Args:
        text: Such as ``30s``, ``1h30m``, ``500ms``, ``2d``, ``PT5M`` or ``P1DT12H``.

    Returns:
        The duration, longer than or equal to zero.

    Raises:
        ValidationError: If the text is invalid; the message lists the allowed forms.

    Example:
        >>> parse_duration("1h30m")
        datetime.timedelta(seconds=5400)
    """
    text = text.strip()
    try:
        if _SHORT.fullmatch(text):
            parts = _PART.findall(text)
            units = [unit for _, unit in parts]
            if len(set(units)) == len(units):
                return sum((int(count) * _UNITS[unit] for count, unit in parts), timedelta(0))
        elif len(text) > 1 and (match := _ISO.fullmatch(text)):
            weeks, days, hours, minutes, seconds, fraction = match.groups(default="0")
            return timedelta(
                weeks=int(weeks),
                days=int(days),
                hours=int(hours),
                minutes=int(minutes),
                seconds=int(seconds),
                microseconds=int(fraction.ljust(6, "0")),
            )
    except OverflowError:
        raise ValidationError(f"{text!r} is longer than a duration can be") from None
    raise ValidationError(f"{text[:80]!r} is not a duration: {_ALLOWED}")


def format_duration(value: timedelta) -> str:
    """Return a duration in the short form that `parse_duration` reads.

    Parts smaller than a millisecond are dropped; a negative one, which `parse_duration` refuses,
    gets a minus sign before it.

    Example:
        >>> format_duration(timedelta(seconds=5400))
        '1h30m'
    """
    total = value // _UNITS["ms"]
    rest, text = abs(total), ""
    for unit in ("d", "h", "m", "s", "ms"):
        size = _UNITS[unit] // _UNITS["ms"]
        count, rest = divmod(rest, size)
        if count:
            text += f"{count}{unit}"
    return f"-{text}" if total < 0 else text or "0s"
