"""The runner: which sensor or schedule is due, look, decide, commit, tell.

Threads and what they own: the *scheduler* has the heap of due times and nobody else touches it;
the *pool* ticks and decides; the *committer* writes; the *roster* looks once a second at what
operators and other runners did. Whatever concerns the heap reaches the scheduler as a message.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import count

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import Clock
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.runtime.coordination.assignment import ScheduleAssignment, SensorAssignment
from flowstone_core.runtime.coordination.reconciler import AnyAssignment, Reconciler
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.isolation.thread_pool import ThreadPool
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.ticking.committer import CommitOutcome, Committer
from flowstone_core.runtime.ticking.pool_calls import CleanupCall, TickCall
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleTicker
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.runtime.ticking.staleness import StalenessMonitor
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, Store, TickResult

logger = logging.getLogger("flowstone.runner")

STORE_RETRY = 5.0
"""Seconds until what could not be written is found again."""

CLOCK_STEP = 0.5
"""Seconds by which the wall clock moves against the monotonic one between two steps if it was
set, or if the machine slept; then every schedule is looked at."""


class Runner:
    """Ticks the sensors and schedules that it owns.

    Args:
        store: Where ticks are committed.
        runner_id: As registered by the heartbeat.
        sensors: What is declared; only enabled ones are ticked.
        schedules: What files and pipelines say of schedules; the store has more.
        outage: Whether the store can be used; nothing is ticked while it cannot.
        make_schedule: Makes a schedule of its record; called in any thread, and may raise.
        assets: All assets.
        announcer: Told after each commit.
        wake_engine: Called after each commit that made something due.
        poll_threads: Ticks that may run at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        runner_id: str,
        sensors: Mapping[str, SensorDeclaration],
        assets: AssetGraph,
        clock: Clock,
        publisher: Publisher,
        redact: Redactor,
        wake_engine: Callable[[], None],
        poll_threads: int = 32,
        outage: StoreOutage | None = None,
        schedules: Mapping[str, DeclaredSchedule] | None = None,
        make_schedule: Callable[[ScheduleRecord], Schedule] | None = None,
    ) -> None:
        self._store = store
        self._redact = redact
        self._clock = clock
        self._publisher = publisher
        self._wake_engine = wake_engine
        self._outage = outage or StoreOutage()
        self._pool = ThreadPool("flowstone-poll", clock, poll_threads)
        self._committer = Committer(
            store,
            runner_id,
            assets,
            clock,
            redact,
            self._outage,
            self._on_result,
            self._on_verdict,
        )
        self._staleness = StalenessMonitor(store, runner_id, clock, publisher, self._outage)
        sensor_tickers = [
            SensorTicker(declaration, assets, clock, redact)
            for declaration in sensors.values()
            if declaration.settings.enabled
        ]
        self._tickers: dict[str, Ticker] = {ticker.source: ticker for ticker in sensor_tickers}
        self._make_schedule = make_schedule
        names = [ticker.name for ticker in sensor_tickers]
        self._assignments: dict[str, AnyAssignment] = {
            "sensor": SensorAssignment(
                store, clock, runner_id, names, self._on_sensor, partial(self._on_lost, "sensor")
            )
        }
        if make_schedule is not None:
            self._assignments["schedule"] = ScheduleAssignment(
                store,
                clock,
                runner_id,
                schedules or {},
                assets,
                make_schedule,
                self._on_schedule,
                partial(self._on_lost, "schedule"),
            )
        self._reconciler = Reconciler(
            tuple(self._assignments.values()), clock, self._outage, self._on_look
        )
        self._drift = self._measure_drift()
        self._heap: list[tuple[float, int, Ticker]] = []
        self._numbers = count(1)
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker = clock.waker()
        self._outage.listen(self._waker.set)
        self._stopping = False
        self._thread = threading.Thread(
            target=self._schedule, name="flowstone-scheduler", daemon=True
        )
        self._undecided = 0
        self._undecided_lock = threading.Lock()

    @property
    def stuck(self) -> int:
        """How many polls are past their deadline and have not come back."""
        return self._pool.stuck

    # -- called by whoever runs it ------------------------------------------------------------

    def open(self) -> None:
        """Claim what is free and be ready to `step`; `start` and `run_once` do it themselves.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconciler.open()
        self._committer.start()
        self._receive()

    def start(self) -> None:
        """Tick in threads of its own until `stop`; returns at once.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        self._thread.start()
        self._reconciler.start()

    def run_once(self) -> None:
        """Tick each sensor and schedule once, return when all is committed.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        for source in sorted(self._tickers):
            ticker = self._tickers[source]
            reason = ticker.held_back_by
            if reason is None:
                self._dispatch(ticker)
            else:
                logger.warning("not ticked: %s", reason, extra=ticker.labels)
        self.settle()

    def step(self) -> float | None:
        """Do all that is due now: take messages, give up late polls, start due ones.

        Returns:
            Seconds until there is something to do again; None when nothing is foreseen.
        """
        self._receive()
        self._notice_clock_step()
        waits = [self._pool.expire()]
        if not self._outage.on:
            waits += self._dispatch_due()
        return min((max(wait, 0.0) for wait in waits if wait is not None), default=None)

    def _dispatch_due(self) -> list[float]:
        waits = []
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, number, ticker = heapq.heappop(self._heap)
            if number == ticker.armed and ticker.tickable and self._dispatch(ticker):
                following = ticker.following(due, now)
                if following is not None:
                    self._arm(ticker, following)
                waits.append(ticker.deadline)
        if self._heap:
            waits.append(self._heap[0][0] - now)
        return waits

    def settle(self, grace: timedelta | None = None) -> bool:
        """Wait until every poll that was started is decided and committed, or given up.

        Only for who calls `step` or `run_once` itself: while `start`'s threads run they wait.

        Returns:
            False if ``grace`` passed first.
        """
        return self._wait_until(lambda: not self._undecided, grace)

    def look(self) -> None:
        """Look once at what operators and other runners did; `start` has a thread that does.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconciler.look()
        self._staleness.look()

    def stop(self, grace: timedelta) -> bool:
        """Poll no more; wait for what runs, commit it, and have the sensors clean up.

        Returns:
            Whether all polls came back within the grace time. Those that did not are left to
            the end of the process, and what they find is found again.
        """
        self._stopping = True
        self._waker.set()
        self._reconciler.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        settled = self.settle(grace)
        self._committer.close(timeout=5)
        calls = [
            CleanupCall(ticker, self._waker.set)
            for ticker in self._tickers.values()
            if not ticker.busy
        ]
        for call in calls:
            self._pool.submit(call)
        self._wait_until(lambda: all(call.done for call in calls), timedelta(seconds=5))
        self._pool.close()
        return settled

    # -- the scheduler ------------------------------------------------------------------------

    def _schedule(self) -> None:
        while not self._stopping:
            try:
                delay = self.step()
            except Exception:
                logger.exception("the scheduler failed; it goes on in a second")
                delay = 1.0
            self._waker.wait(delay)

    def _wait_until(self, condition: Callable[[], bool], grace: timedelta | None) -> bool:
        end = None if grace is None else self._clock.monotonic() + grace.total_seconds()
        while not condition():
            waits = [self._pool.expire()]
            if end is not None:
                waits.append(end - self._clock.monotonic())
                if waits[-1] is not None and waits[-1] <= 0:
                    return False
            self._waker.wait(min((wait for wait in waits if wait is not None), default=None))
        self._receive()
        return True

    def _dispatch(self, ticker: Ticker) -> bool:
        turn = ticker.begin()
        if turn is None:
            return False
        with self._undecided_lock:
            self._undecided += 1
        self._pool.submit(TickCall(ticker, turn, self._on_decided, self._on_returned))
        return True

    def _arm(self, ticker: Ticker, due: float) -> None:
        ticker.armed = next(self._numbers)
        heapq.heappush(self._heap, (due, ticker.armed, ticker))

    def _adopt(self, ticker: Ticker) -> None:
        ticker.owned = True
        reason = ticker.held_back_by
        if reason is not None:
            logger.warning("not ticked: %s", reason, extra=ticker.labels)
        self._arm(ticker, self._clock.monotonic() + ticker.first_delay())

    def _notice_clock_step(self) -> None:
        drift = self._measure_drift()
        if abs(drift - self._drift) > CLOCK_STEP:
            logger.warning("the clock was set, or the machine slept: every schedule is looked at")
            for ticker in self._tickers.values():
                if isinstance(ticker, ScheduleTicker):
                    self._arm(ticker, self._clock.monotonic())
        self._drift = drift

    def _measure_drift(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _receive(self) -> None:
        while not self._messages.empty():
            self._messages.get_nowait()()

    # -- called in other threads --------------------------------------------------------------

    def _on_decided(self, ticker: Ticker, decision: AnyDecision, holds: int) -> None:
        if isinstance(ticker, SensorTicker):
            self._staleness.note(ticker, good=decision.outcome.good)
        if not decision.commits:
            self._over(ticker, holds, self._wait(decision))
            return
        if holds > 1:
            ticker.release(holds - 1)
        self._committer.put(ticker, decision)

    def _on_returned(self, ticker: Ticker) -> None:
        if ticker.release():
            self._rearm(ticker, ticker.backoff_left())

    def _on_sensor(self, name: str, checkpoint: SensorCheckpoint) -> None:
        ticker = self._tickers[f"sensor:{name}"]
        self._tell_scheduler(partial(self._adopt_sensor, ticker, checkpoint))

    def _adopt_sensor(self, ticker: Ticker, checkpoint: SensorCheckpoint) -> None:
        assert isinstance(ticker, SensorTicker)  # noqa: S101 - for the type checker
        ticker.checkpoint = checkpoint
        ticker.good_at = self._clock.now()
        self._adopt(ticker)

    def _on_schedule(self, _: str, record: ScheduleRecord) -> None:
        assert self._make_schedule is not None  # noqa: S101 - for the type checker
        make = partial(self._make_schedule, record)
        ticker = ScheduleTicker(
            record, make, self._store.materializations.active, self._clock, self._redact
        )
        self._tell_scheduler(partial(self._adopt_schedule, ticker))

    def _adopt_schedule(self, ticker: ScheduleTicker) -> None:
        self._tickers[ticker.source] = ticker
        self._adopt(ticker)

    def _on_lost(self, kind: str, name: str) -> None:
        ticker = self._tickers.get(f"{kind}:{name}")
        if ticker is not None:
            ticker.owned = False

    def _on_look(self) -> None:
        self._staleness.look()
        # The scheduler compares the clocks whenever it is awake.
        self._waker.set()

    def _on_result(self, result: TickResult) -> None:
        self._publisher.result(result)
        if result.events:
            self._wake_engine()

    def _on_verdict(self, verdict: CommitOutcome) -> None:
        ticker, decision = verdict.ticker, verdict.decision
        delay: float | None = None
        if verdict.committed:
            ticker.remember(decision)
            delay = self._wait(decision)
        elif verdict.stale:
            logger.warning(
                "tick discarded: it was changed or taken over meanwhile", extra=ticker.labels
            )
            self._assignments[ticker.kind].forget(ticker.name)
        else:
            delay = STORE_RETRY
        self._over(ticker, 1, delay)

    def _over(self, ticker: Ticker, holds: int, delay: float | None = None) -> None:
        overdue = ticker.release(holds)
        if delay is not None:
            self._rearm(ticker, delay)
        elif overdue:
            self._rearm(ticker, 0.0)
        with self._undecided_lock:
            self._undecided -= 1
            idle = not self._undecided
        if idle:
            self._waker.set()

    def _wait(self, decision: AnyDecision) -> float | None:
        if decision.next_at is not None:
            return max(0.0, (decision.next_at - self._clock.now()).total_seconds())
        return None if decision.delay is None else decision.delay.total_seconds()

    def _rearm(self, ticker: Ticker, delay: float) -> None:
        self._tell_scheduler(partial(self._arm, ticker, self._clock.monotonic() + delay))

    def _tell_scheduler(self, message: Callable[[], None]) -> None:
        self._messages.put(message)
        self._waker.set()
