"""The only reader of time.

Everything else takes a `Clock`, so a test moves time by hand (`flowstone_core.testing.FakeClock`)
and nothing ever sleeps: who wants to wait waits on a `Waker`, which another thread can set.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime


class Waker(ABC):
    """An alarm that one thread waits on and any thread may set; waiting clears it."""

    @abstractmethod
    def set(self) -> None:
        """Wake whoever waits, now or at its next `wait`. Any thread may call it."""

    @abstractmethod
    def wait(self, timeout: float | None) -> bool:
        """Wait until the alarm is set or ``timeout`` seconds of monotonic time have passed.

        Args:
            timeout: Seconds; None waits for `set` alone, zero or less does not wait.

        Returns:
            True if it was set (it is cleared by this), False if the time passed.
        """


class Clock(ABC):
    """Wall clock, monotonic clock, and waiting."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall clock as an aware datetime in UTC; it may step either way."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; it never goes back."""

    @abstractmethod
    def waker(self) -> Waker:
        """Return a new alarm whose time-outs follow this clock."""


class SystemClock(Clock):
    """The time of this machine."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def waker(self) -> Waker:
        """See `Clock.waker`."""
        return _SystemWaker()


class _SystemWaker(Waker):
    """Built on `queue.SimpleQueue`, whose ``put`` is documented as safe in a signal handler."""

    def __init__(self) -> None:
        self._alarms: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        self._alarms.put(None)

    def wait(self, timeout: float | None) -> bool:
        if timeout is not None:
            timeout = min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        try:
            self._alarms.get(timeout=timeout)
            while not self._alarms.empty():
                self._alarms.get_nowait()
        except queue.Empty:
            return False
        return True
