"""Parser for the header ``Retry-After``, and for HTTP dates."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DELAY_LIMIT = timedelta(hours=1)
"""The longest delay that is honoured."""

_SECONDS = re.compile(r"[0-9]+", re.ASCII)


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """Parse a ``Retry-After``.

    Args:
        text: Seconds, or an HTTP date.
        now: The time, aware.

    Returns:
        The delay, at most an hour; None if the header is missing, invalid, zero, negative or past.
        Then the sensor's back-off decides.

    Example:
        >>> parse_retry_after("120", datetime(2025, 1, 15, tzinfo=UTC))
        datetime.timedelta(seconds=120)
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        # Six digits are more than an hour already, and Python refuses thousands of digits.
        delay = timedelta(seconds=int(text.lstrip("0")[:6] or "0"))
    else:
        moment = parse_http_date(text)
        if moment is None:
            return None
        delay = moment - now
    return min(delay, DELAY_LIMIT) if delay > timedelta(0) else None


def parse_http_date(text: str) -> datetime | None:
    """Parse an HTTP date, such as ``Wed, 15 Jan 2025 12:00:00 GMT``; None if invalid."""
    try:
        moment = parsedate_to_datetime(text.strip())
        # The zone -0000 yields a naive time, and means UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
