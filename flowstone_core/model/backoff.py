"""Back-off: how long to wait before the next try, with full jitter."""

from __future__ import annotations

import random
from datetime import timedelta

from flowstone_core.errors import RetryLater

RETRY_LATER_LIMIT = timedelta(days=7)
"""Upper bound of the delay of a `RetryLater`; longer delays are cut to it."""

_FIRST_RETRY = timedelta(seconds=1)
_LONGEST_RETRY = timedelta(seconds=30)

_MAX_DOUBLINGS = 1000
"""``2.0 ** 1024`` overflows a float; every delay has reached its limit long before."""


def backoff_delay(failures: int, first: timedelta, limit: timedelta) -> timedelta:
    """Return how long to wait after a number of consecutive failures.

    Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): uniform
    between zero and ``first * 2 ** (failures - 1)``, at most ``limit``.

    Args:
        failures: Consecutive failures so far, at least 1.
        first: Upper bound of the delay after the first failure.
        limit: Upper bound of every delay.
    """
    bound = first.total_seconds() * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
    seconds = random.uniform(0, min(bound, limit.total_seconds()))  # noqa: S311 - not for secrets
    return timedelta(seconds=seconds)


def store_retry_seconds(failures: int) -> float:
    """Return the seconds until the next access to a store that failed: 1 s at first, at most 30 s.

    Args:
        failures: Consecutive failures so far, at least 1.
    """
    return backoff_delay(failures, _FIRST_RETRY, _LONGEST_RETRY).total_seconds()


def honoured_delay(error: BaseException) -> timedelta | None:
    """Return the delay of a `RetryLater`, at most `RETRY_LATER_LIMIT`.

    Returns:
        None for any other error, and for a subclass of `RetryLater` whose ``delay`` is not a
        timedelta or is negative: both count as failures.
    """
    if not isinstance(error, RetryLater):
        return None
    try:
        delay: object = error.delay
    except BaseException:  # noqa: BLE001 - a foreign property may raise anything
        return None
    if not isinstance(delay, timedelta) or delay < timedelta(0):
        return None
    return min(delay, RETRY_LATER_LIMIT)
