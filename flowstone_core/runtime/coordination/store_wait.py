"""Wait for the store at the start: a start waits for a store as a running runner does."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.duration import format_duration
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe

T = TypeVar("T")

logger = logging.getLogger("flowstone.store_wait")

TRY_SECONDS = 1.0
"""Seconds between two tries."""


class StopRequestedError(Exception):
    """The process was asked to stop while it waited for the store.

    Args:
        error: The last error of the store.
    """

    def __init__(self, error: StoreUnavailableError) -> None:
        super().__init__(str(error))
        self.error = error


def wait_for_store(
    step: Callable[[], T],
    clock: Clock,
    limit: timedelta | None,
    wait: Callable[[float], bool] | None = None,
) -> T:
    """Repeat a step while the store is unavailable: locked, full, starting up or not reachable.

    Args:
        step: Uses the store; must be safe to repeat.
        clock: Measures the wait.
        limit: Longest wait, which the first log line shows; None for no limit and no log line.
        wait: Waits for some seconds, and returns True if the process was asked to stop.

    Returns:
        The return value of the step.

    Raises:
        StoreUnavailableError: If the store is unavailable for longer than the limit.
        StopRequestedError: If ``wait`` returned True.
    """
    wait = wait or clock.waker().wait
    end = math.inf if limit is None else clock.monotonic() + limit.total_seconds()
    told = format_duration(limit or timedelta(0))
    report = ReportOnce(
        logger,
        "store unavailable; trying again every second",
        "store available",
        level=logging.WARNING,
    )
    while True:
        try:
            result = step()
        except StoreUnavailableError as error:
            left = end - clock.monotonic()
            if left <= 0:
                raise StoreUnavailableError(
                    f"{error.message}; gave up after {told}", hint=error.hint
                ) from error
            if limit is not None:
                report.begin(error=describe(error), limit=told)
            if wait(min(TRY_SECONDS, left)):
                raise StopRequestedError(error) from error
        else:
            report.end()
            return result
