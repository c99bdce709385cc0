"""Parser for the headers with which a server asks to be left alone, and for HTTP dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DELAY_LIMIT = timedelta(hours=1)
"""The longest delay that is honoured."""

_LONG_AGO = 1_000_000_000
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


def rate_limit_reset(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return the delay until a used-up rate limit is reset, as GitHub and others tell it.

    Args:
        headers: The headers of the response, by their names in lower case.
        now: The time, aware.

    Returns:
        The delay, at most an hour; None if the limit is not used up, or no reset is told.
    """
    reset = headers.get("x-ratelimit-reset", "").strip()
    if headers.get("x-ratelimit-remaining", "").strip() != "0" or not _SECONDS.fullmatch(reset):
        return None
    seconds = int(reset[:12])
    # Seconds since 1970 at GitHub, seconds from now elsewhere.
    seconds -= int(now.timestamp()) if seconds > _LONG_AGO else 0
    return min(timedelta(seconds=seconds), DELAY_LIMIT) if seconds > 0 else None


def parse_http_date(text: str) -> datetime | None:
    """Parse an HTTP date, such as ``Wed, 15 Jan 2025 12:00:00 GMT``; None if invalid."""
    try:
        moment = parsedate_to_datetime(text.strip())
        # The zone -0000 yields a naive time, and means UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
