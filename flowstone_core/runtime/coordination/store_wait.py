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


class StartWait:
    """Wait of a start for the store: one limit for all its steps, which `stop` ends.

    Args:
        clock: Measures the wait.
        limit: The setting ``store_wait``.
        duration: Longest time of the run; it limits the wait, too.

    Attributes:
        since: Monotonic time of the start, for the steps that wait elsewhere.
        stopped: True after `stop`.
    """

    def __init__(self, clock: Clock, limit: timedelta, duration: timedelta | None = None) -> None:
        self._clock = clock
        self._limit = shortest(limit, duration)
        self._waker = clock.waker()
        self.since = clock.monotonic()
        self.stopped = False

    def wait_for(self, step: Callable[[], T]) -> T:
        """Repeat a step as `wait_for_store` does; raises what that raises."""
        return wait_for_store(step, self._clock, self._limit, self._wait, self.since)

    def stop(self) -> None:
        """End the wait; any thread."""
        self.stopped = True
        self._waker.set()

    def _wait(self, seconds: float) -> bool:
        self._waker.wait(seconds)
        return self.stopped


def shortest(limit: timedelta, duration: timedelta | None) -> timedelta:
    """Return the limit of a wait in a run that lasts for a time."""
    return limit if duration is None else min(limit, duration)


def wait_for_store(
    step: Callable[[], T],
    clock: Clock,
    limit: timedelta | None,
    wait: Callable[[float], bool] | None = None,
    since: float | None = None,
) -> T:
    """Repeat a step while the store is unavailable: locked, full, starting up or not reachable.

    Args:
        step: Uses the store; must be safe to repeat.
        clock: Measures the wait.
        limit: Longest wait, which the first log line shows; None for no limit and no log line.
        wait: Waits for some seconds, and returns True if the process was asked to stop.
        since: Monotonic time that the limit counts from; now if it is None.

    Returns:
        The return value of the step.

    Raises:
        StoreUnavailableError: If the store is unavailable for longer than the limit.
        StopRequestedError: If ``wait`` returned True.
    """
    wait = wait or clock.waker().wait
    begin = clock.monotonic() if since is None else since
    end = math.inf if limit is None else begin + limit.total_seconds()
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
