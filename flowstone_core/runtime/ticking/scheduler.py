"""Scheduler: heap of due times; starts the ticks that are due and gives up the late ones."""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TypeAlias

from flowstone_core.model.clock import Clock
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.isolation.thread_pool import ThreadPool
from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.runtime.ticking.pool_calls import CLEANUP_SECONDS, CleanupCall, TickCall
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleTicker
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker

logger = logging.getLogger("flowstone.scheduler")

CLOCK_STEP = 0.5
"""Seconds by which the wall clock moves against the monotonic clock between two steps if it was
set, or if the machine slept; every schedule is then evaluated at once."""

RETRY_SECONDS = 1.0
"""Seconds until a tick that could not be started is tried again."""

GRAIN = 0.001
"""Shortest wait for the next due time, in seconds: ticks due within it start together, which takes
a fraction of the CPU of a wake-up for each."""

OnDecided: TypeAlias = Callable[[Ticker, AnyDecision, int], None]
"""Called with a ticker, its decision, and the number of holds that end with the decision."""


class Scheduler:
    """Ticks sensors and schedules when they are due, in the threads of a pool.

    One thread alone calls `step` and touches the heap: the scheduler's thread after `start`, else
    the caller's. Other threads `post` messages to it.

    Args:
        clock: Its monotonic time orders the heap.
        outage: Circuit breaker of the store; nothing is ticked while the outage lasts.
        poll_threads: Ticks that may run at once.
        on_decided: Called in a thread of the pool with each decision; `finish` must follow.

    Attributes:
        tickers: Every ticker that was adopted or registered, by its source.
    """

    def __init__(
        self, clock: Clock, outage: StoreOutage, poll_threads: int, on_decided: OnDecided
    ) -> None:
        self.tickers: dict[str, Ticker] = {}
        self._clock = clock
        self._outage = outage
        self._on_decided = on_decided
        self._pool = ThreadPool("flowstone-poll", clock, poll_threads)
        self._heap: list[tuple[float, int, Ticker]] = []
        self._numbers = count(1)
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._loop = PeriodicThread("scheduler", self.step, clock)
        self._outage.listen(self._loop.wake)
        self._clock_offset = self._measure_offset()
        self._undecided = 0
        self._settling = 0
        self._undecided_lock = threading.Lock()

    @property
    def stuck(self) -> int:
        """Number of ticks that are past their deadlines and have not returned."""
        return self._pool.stuck

    @property
    def blocked(self) -> bool:
        """True if every thread hangs in a call that does not return: nothing more is ticked."""
        return self._pool.blocked

    @property
    def problem(self) -> str | None:
        """The error of the last step of the thread, if that step failed."""
        return self._loop.problem

    # -- called by the thread that steps ------------------------------------------------------

    def start(self) -> None:
        """Step in a thread until `stop`; returns at once."""
        self._loop.start()

    def step(self) -> float | None:
        """Do all that is due now: receive messages, give up late ticks, start due ones.

        Returns:
            Seconds until the next step; None if nothing is foreseen.
        """
        self.receive()
        self._notice_clock_step()
        waits = [self._pool.expire()]
        if not self._outage.on:
            waits += self._dispatch_due()
        return min((max(wait, 0.0) for wait in waits if wait is not None), default=None)

    def receive(self) -> None:
        """Receive the messages that were posted."""
        while not self._messages.empty():
            self._messages.get_nowait()()

    def adopt(self, ticker: Ticker) -> None:
        """Tick a sensor or schedule from now on, because it is assigned to this runner."""
        self.tickers[ticker.source] = ticker
        ticker.owned = True
        reason = ticker.held_back_by
        if reason is not None:
            logger.warning("not ticked: %s", reason, extra=ticker.labels)
        self._arm(ticker, self._clock.monotonic() + ticker.first_delay())

    def dispatch_all(self) -> None:
        """Tick each sensor and schedule now, except those that are held back."""
        for source in sorted(self.tickers):
            ticker = self.tickers[source]
            reason = ticker.held_back_by
            if reason is None:
                self._dispatch(ticker)
            else:
                logger.warning("not ticked: %s", reason, extra=ticker.labels)

    def settle(self, grace: timedelta | None = None) -> bool:
        """Wait until every tick that was started is decided and committed, or given up.

        For callers that step themselves, or have stopped the scheduler's thread.

        Args:
            grace: Longest wait; None for no limit.

        Returns:
            False if the grace time passed first.
        """
        with self._undecided_lock:
            self._settling += 1
        try:
            return self._wait_until(lambda: not self._undecided, grace)
        finally:
            with self._undecided_lock:
                self._settling -= 1

    def stop(self) -> None:
        """Start no more ticks; those that run go on."""
        self._loop.stop()

    def close(self) -> None:
        """Clean up every ticker that is not busy, and end the pool."""
        idle = [ticker for ticker in self.tickers.values() if not ticker.busy]
        calls = [CleanupCall(ticker, self._loop.wake) for ticker in idle]
        for call in calls:
            self._pool.submit(call)
        # A second more than each call has, so that a late one is reported before the end.
        grace = timedelta(seconds=CLEANUP_SECONDS + 1)
        self._wait_until(lambda: all(call.done for call in calls), grace)
        self._pool.close()

    # -- called by any thread -----------------------------------------------------------------

    def post(self, message: Callable[[], None]) -> None:
        """Call a function in the thread that steps, before the next step."""
        self._messages.put(message)
        self._loop.wake()

    def wake(self) -> None:
        """Step now."""
        self._loop.wake()

    def finish(self, ticker: Ticker, holds: int, delay: float | None = None) -> None:
        """End a tick call whose outcome is known.

        Args:
            holds: Holds of the tick call to give up.
            delay: Seconds until the next tick; None to keep the ticker's own interval.
        """
        overdue = ticker.release(holds)
        if delay is not None:
            self._rearm(ticker, delay)
        elif overdue:
            self._rearm(ticker, 0.0)
        with self._undecided_lock:
            self._undecided -= 1
            # Only for callers of `settle`: to wake the thread after each quiet tick would double
            # the cost of the tick.
            settled = not self._undecided and self._settling
        if settled:
            self._loop.wake()

    def delay_of(self, decision: AnyDecision) -> float | None:
        """Return the seconds until the next tick that a decision asks for; None if it does not."""
        if decision.next_at is not None:
            return max(0.0, (decision.next_at - self._clock.now()).total_seconds())
        return None if decision.delay is None else decision.delay.total_seconds()

    # -- inside ---------------------------------------------------------------------------------

    def _dispatch_due(self) -> list[float | None]:
        waits: list[float | None] = []
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, number, ticker = heapq.heappop(self._heap)
            if number == ticker.armed and ticker.tickable and self._dispatch(ticker):
                following = ticker.following(due, now)
                if following is not None:
                    self._arm(ticker, following)
                waits.append(ticker.deadline)
        if self._heap:
            waits.append(max(self._heap[0][0] - now, GRAIN))
        return waits

    def _dispatch(self, ticker: Ticker) -> bool:
        number = ticker.begin()
        if number is None:
            return False
        with self._undecided_lock:
            self._undecided += 1
        try:
            self._pool.submit(TickCall(ticker, number, self._on_decided, self._on_returned))
        except BaseException:  # out of memory: the tick has not begun
            self.finish(ticker, 2, RETRY_SECONDS)
            raise
        return True

    def _on_returned(self, ticker: Ticker) -> None:
        if ticker.release():
            self._rearm(ticker, ticker.backoff_left())

    def _arm(self, ticker: Ticker, due: float) -> None:
        ticker.armed = next(self._numbers)
        heapq.heappush(self._heap, (due, ticker.armed, ticker))

    def _rearm(self, ticker: Ticker, delay: float) -> None:
        self.post(partial(self._arm, ticker, self._clock.monotonic() + delay))

    def _notice_clock_step(self) -> None:
        offset = self._measure_offset()
        if abs(offset - self._clock_offset) > CLOCK_STEP:
            logger.warning("wall clock stepped or machine slept; evaluating every schedule")
            for ticker in self.tickers.values():
                if isinstance(ticker, ScheduleTicker):
                    self._arm(ticker, self._clock.monotonic())
        self._clock_offset = offset

    def _measure_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _wait_until(self, condition: Callable[[], bool], grace: timedelta | None) -> bool:
        end = None if grace is None else self._clock.monotonic() + grace.total_seconds()
        while not condition():
            waits = [self._pool.expire()]
            if end is not None:
                left = end - self._clock.monotonic()
                if left <= 0:
                    return False
                waits.append(left)
            self._loop.wait(min((wait for wait in waits if wait is not None), default=None))
        self.receive()
        return True
