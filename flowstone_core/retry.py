"""When to try again: exponential back-off with full jitter.

The arithmetic is tenacity's; this module only gives it FlowStone's words.
"""

from __future__ import annotations

from datetime import timedelta

import tenacity


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
