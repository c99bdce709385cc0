"""Clock: the only reader of time.

Everything else takes a `Clock`, so a test moves time by hand (`flowstone_core.testing.FakeClock`)
and nothing ever sleeps: a thread waits on a `Waker`, which another thread can set.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime

SIGNAL_SECONDS = 1.0
"""Seconds after which the main thread notices a signal that woke no thread."""


class Waker(ABC):
    """Alarm that one thread waits on and any thread may set; waiting clears the alarm."""

    @abstractmethod
    def set(self) -> None:
        """Wake the waiting thread, now or at its next `wait`. Any thread may call this."""

    @abstractmethod
    def wait(self, timeout: float | None) -> bool:
        """Wait until the alarm is set, or ``timeout`` seconds of monotonic time have passed.

        Args:
            timeout: Seconds; None waits for `set` alone, zero or less does not wait.

        Returns:
            True if the alarm was set (it is now cleared), False on timeout.
        """


class Clock(ABC):
    """Wall clock, monotonic clock, and alarms to wait on."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall clock as an aware datetime in UTC; the time may step either way."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; they never go back."""

    @abstractmethod
    def waker(self) -> Waker:
        """Return a new alarm whose timeouts follow this clock."""


class SystemClock(Clock):
    """Clock of this machine."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def waker(self) -> Waker:
        """See `Clock.waker`."""
        return _SystemWaker()


class StoreClock(SystemClock):
    """Clock of this machine, set to the time of the store: machines agree on what is due.

    Its wall clock goes on by the monotonic clock, so a wrong clock of the machine, or one that is
    set, changes nothing. Until `set` is called, and with a store that has no clock (SQLite), its
    wall clock is the machine's.

    Args:
        machine: The clock of this machine; tests pass a wrong one.
    """

    def __init__(self, machine: Clock | None = None) -> None:
        self._machine = machine or SystemClock()
        self._ahead: float | None = None

    def now(self) -> datetime:
        """See `Clock.now`."""
        ahead = self._ahead
        if ahead is None:
            return self._machine.now()
        return datetime.fromtimestamp(self.monotonic() + ahead, UTC)

    def set(self, now: datetime, asked_at: float) -> None:
        """Set the wall clock to the time that the store answered.

        The clock is left alone while it agrees with the answer. Otherwise it is set to the
        earliest time that does: a clock that is behind by the time of an answer takes nothing
        from others.

        Args:
            now: The answer.
            asked_at: When it was asked for, in monotonic seconds; the answer has just come.
        """
        earliest = now.timestamp() - self.monotonic()
        latest = now.timestamp() - asked_at
        if self._ahead is None or not earliest <= self._ahead <= latest:
            self._ahead = earliest

    @property
    def offset(self) -> float | None:
        """Seconds by which the machine's clock is ahead of the store's; None if not known."""
        if self._ahead is None:
            return None
        return (self._machine.now() - self.now()).total_seconds()


class _SystemWaker(Waker):
    """Alarm on `queue.SimpleQueue`, whose ``put`` is documented as safe in a signal handler.

    Python calls a signal's handler in the main thread, when that is awake. A signal that another
    thread received, or that came just before the main thread fell asleep, does not wake it: so the
    main thread wakes each second.
    """

    def __init__(self) -> None:
        self._alarms: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        self._alarms.put(None)

    def wait(self, timeout: float | None) -> bool:
        end = math.inf if timeout is None else time.monotonic() + timeout
        is_main = threading.current_thread() is threading.main_thread()
        longest = SIGNAL_SECONDS if is_main else threading.TIMEOUT_MAX
        while True:
            left = end - time.monotonic()
            try:
                self._alarms.get(timeout=min(max(left, 0.0), longest))
            except queue.Empty:
                if left <= longest:
                    return False
            else:
                with suppress(queue.Empty):
                    while True:
                        self._alarms.get_nowait()
                return True
