"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from flowstone_core.model.clock import Clock, Waker

_START = datetime(2025, 1, 15, 12, tzinfo=UTC)
_MONOTONIC_START = 1_000.0


class FakeClock(Clock):
    """Time that passes only when `advance` says so; any thread may use it.

    Nothing sleeps: a thread that waits on one of its wakers goes on as soon as another has set
    the waker, or has moved the clock past the time-out. Before it moves the clock a test has
    `wait_for_sleepers` wait until the thread is there to see it.

    Args:
        start: The first value of `now`; aware.

    Raises:
        ValueError: If ``start`` is naive.

    Example:
        >>> from datetime import timedelta
        >>> from flowstone_core.testing import FakeClock
        >>> clock = FakeClock()
        >>> clock.now().isoformat()
        '2025-01-15T12:00:00+00:00'
        >>> clock.advance(timedelta(minutes=1))
        >>> clock.now().isoformat(), clock.monotonic()
        ('2025-01-15T12:01:00+00:00', 1060.0)
        >>> clock.waker().wait(0)
        False
    """

    def __init__(self, start: datetime = _START) -> None:
        self._now = _aware(start)
        self._time = _Time()

    def now(self) -> datetime:
        """See `Clock.now`."""
        with self._time.changed:
            return self._now

    def monotonic(self) -> float:
        """See `Clock.monotonic`; it begins at 1000."""
        with self._time.changed:
            return _MONOTONIC_START + self._time.elapsed.total_seconds()

    def waker(self) -> Waker:
        """See `Clock.waker`."""
        return _FakeWaker(self._time)

    def advance(self, by: timedelta | float) -> None:
        """Let time pass on both clocks; who waited for that moment goes on.

        Args:
            by: How long; a number is taken as seconds, and rounded to microseconds.

        Raises:
            ValueError: If it is negative: `set_now` steps the wall clock back.
        """
        if not isinstance(by, timedelta):
            by = timedelta(seconds=by)
        if by < timedelta(0):
            raise ValueError(f"time does not pass backwards, got {by}; use set_now")
        with self._time.changed:
            self._now += by
            self._time.elapsed += by
            self._time.changed.notify_all()

    def set_now(self, moment: datetime) -> None:
        """Step the wall clock, either way, as an operator or NTP would; no time passes by it.

        Args:
            moment: The new value of `now`; aware.

        Raises:
            ValueError: If it is naive.
        """
        moment = _aware(moment)
        with self._time.changed:
            self._now = moment

    @property
    def sleepers(self) -> int:
        """How many threads wait on this clock's wakers and have no reason yet to go on."""
        with self._time.changed:
            return sum(not wait.over for wait in self._time.waits)

    def wait_for_sleepers(self, count: int = 1, patience: float = 30.0) -> None:
        """Wait until ``count`` threads wait on this clock's wakers.

        A thread that was woken is not counted before it waits again, so after ``advance`` this
        waits for what the woken threads do.

        Args:
            count: The least number of threads.
            patience: Seconds of real time.

        Raises:
            TimeoutError: If there are fewer when the patience is over.
        """
        with self._time.changed:
            if not self._time.changed.wait_for(lambda: self.sleepers >= count, patience):
                raise TimeoutError(
                    f"{self.sleepers} threads wait on this clock, not {count}, "
                    f"after {patience:g} s of real time"
                )


class _Time:
    """State that a clock and its wakers share; read and written while holding ``changed``."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.elapsed = timedelta(0)
        self.waits: set[_Wait] = set()

    def after(self, timeout: float | None) -> timedelta | None:
        """Return the moment in ``seconds`` from now; None for never."""
        if timeout is None:
            return None
        # A positive wait lasts until time moves: a loop must not spin in between.
        shortest = timedelta.resolution if timeout > 0 else timedelta(0)
        seconds = min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        return self.elapsed + max(timedelta(seconds=seconds), shortest)


class _Wait:
    """One thread's wait on a waker."""

    def __init__(self, time: _Time, waker: _FakeWaker, timeout: float | None) -> None:
        self._time = time
        self._waker = waker
        self._end = time.after(timeout)

    @property
    def over(self) -> bool:
        late = self._end is not None and self._time.elapsed >= self._end
        return self._waker.alarmed or late


class _FakeWaker(Waker):
    def __init__(self, time: _Time) -> None:
        self._time = time
        self.alarmed = False

    def set(self) -> None:
        with self._time.changed:
            self.alarmed = True
            self._time.changed.notify_all()

    def wait(self, timeout: float | None) -> bool:
        time = self._time
        with time.changed:
            wait = _Wait(time, self, timeout)
            time.waits.add(wait)
            time.changed.notify_all()
            try:
                time.changed.wait_for(lambda: wait.over)
            finally:
                time.waits.remove(wait)
            alarmed, self.alarmed = self.alarmed, False
            return alarmed


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; say datetime(..., tzinfo=UTC)")
    return moment.astimezone(UTC)
