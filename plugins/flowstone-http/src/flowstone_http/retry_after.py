"""How long a server asks to be left alone: the header ``Retry-After``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = timedelta(hours=1)
"""The longest pause that is honoured."""

_SECONDS = re.compile(r"[0-9]+", re.ASCII)


def read_pause(text: str, now: datetime) -> timedelta | None:
    """Read a ``Retry-After``.

    Args:
        text: Seconds, or a date of HTTP.
        now: The time, aware.

    Returns:
        How long to wait, an hour at most; None if it says nothing: it is missing, no number and
        no date, zero, negative, or past. Then the sensor's own back-off decides.

    Example:
        >>> read_pause("120", datetime(2025, 1, 15, tzinfo=UTC))
        datetime.timedelta(seconds=120)
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        # More digits than these are more than an hour, and Python refuses thousands of them.
        pause = timedelta(seconds=int(text.lstrip("0")[:6] or "0"))
    else:
        moment = read_date(text)
        if moment is None:
            return None
        pause = moment - now
    return min(pause, LONGEST) if pause > timedelta(0) else None


def read_date(text: str) -> datetime | None:
    """Read a date of HTTP, such as ``Wed, 15 Jan 2025 12:00:00 GMT``; None if it is none."""
    try:
        moment = parsedate_to_datetime(text.strip())
        # A zone of -0000, which is none, means UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
