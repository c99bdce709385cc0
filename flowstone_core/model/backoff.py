"""When to try again: exponential back-off with full jitter.

The arithmetic is tenacity's; this module only gives it FlowStone's words.
"""

from __future__ import annotations

from datetime import timedelta

import tenacity

from flowstone_core.errors import RetryLater


def backoff_delay(failures: int, first: timedelta, limit: timedelta) -> timedelta:
    """Return how long to wait after so many failures in a row.

    Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): uniform
    between zero and ``first * 2 ** (failures - 1)``, at most ``limit``.

    Args:
        failures: Failures so far, at least 1.
        first: Upper bound of the delay after the first failure.
        limit: Upper bound of every delay.
    """
    wait = tenacity.wait_random_exponential(
        multiplier=first.total_seconds(), max=limit.total_seconds()
    )
    call = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    call.attempt_number = failures
    return timedelta(seconds=wait(call))


RETRY_LATER_LIMIT = timedelta(days=7)


"""The longest delay that is honoured of a `RetryLater`."""


def honoured_delay(error: BaseException) -> timedelta | None:
    """Return for how long a `RetryLater` is obeyed: at most `RETRY_LATER_LIMIT`.

    Returns:
        None for any other error, and for one of a subclass that made no delay of its delay: both
        are failures.
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
