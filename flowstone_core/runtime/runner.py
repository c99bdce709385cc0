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
from flowstone_core.model.tick import SensorMemory
from flowstone_core.runtime.coordination.assignment import ScheduleShare, SensorShare
from flowstone_core.runtime.coordination.reconciler import AnyShare, Roster
from flowstone_core.runtime.coordination.store_outage import Outage
from flowstone_core.runtime.isolation.thread_pool import Pool
from flowstone_core.runtime.publisher import Announcer
from flowstone_core.runtime.ticking.committer import Committer, Verdict
from flowstone_core.runtime.ticking.pool_calls import CleanupCall, Turn
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleWorker
from flowstone_core.runtime.ticking.sensor_ticker import SensorWorker
from flowstone_core.runtime.ticking.staleness import Freshness
from flowstone_core.runtime.ticking.ticker import AnyDecision, Worker
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import Declared, ScheduleRecord, Store, TickResult

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
        announcer: Announcer,
        redact: Redactor,
        wake_engine: Callable[[], None],
        poll_threads: int = 32,
        outage: Outage | None = None,
        schedules: Mapping[str, Declared] | None = None,
        make_schedule: Callable[[ScheduleRecord], Schedule] | None = None,
    ) -> None:
        self._store = store
        self._redact = redact
        self._clock = clock
        self._announcer = announcer
        self._wake_engine = wake_engine
        self._outage = outage or Outage()
        self._pool = Pool("flowstone-poll", clock, poll_threads)
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
        self._freshness = Freshness(store, runner_id, clock, announcer, self._outage)
        sensor_workers = [
            SensorWorker(declaration, assets, clock, redact)
            for declaration in sensors.values()
            if declaration.settings.enabled
        ]
        self._workers: dict[str, Worker] = {worker.source: worker for worker in sensor_workers}
        self._make_schedule = make_schedule
        names = [worker.name for worker in sensor_workers]
        self._shares: dict[str, AnyShare] = {
            "sensor": SensorShare(
                store, clock, runner_id, names, self._on_sensor, partial(self._on_lost, "sensor")
            )
        }
        if make_schedule is not None:
            self._shares["schedule"] = ScheduleShare(
                store,
                clock,
                runner_id,
                schedules or {},
                assets,
                make_schedule,
                self._on_schedule,
                partial(self._on_lost, "schedule"),
            )
        self._roster = Roster(tuple(self._shares.values()), clock, self._outage, self._on_look)
        self._drift = self._measure_drift()
        self._heap: list[tuple[float, int, Worker]] = []
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
        self._roster.open()
        self._committer.start()
        self._receive()

    def start(self) -> None:
        """Tick in threads of its own until `stop`; returns at once.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        self._thread.start()
        self._roster.start()

    def run_once(self) -> None:
        """Tick each sensor and schedule once, return when all is committed.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        for source in sorted(self._workers):
            worker = self._workers[source]
            reason = worker.held_back_by
            if reason is None:
                self._dispatch(worker)
            else:
                logger.warning("not ticked: %s", reason, extra=worker.labels)
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
            due, number, worker = heapq.heappop(self._heap)
            if number == worker.armed and worker.tickable and self._dispatch(worker):
                following = worker.following(due, now)
                if following is not None:
                    self._arm(worker, following)
                waits.append(worker.deadline)
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
        self._roster.look()
        self._freshness.look()

    def stop(self, grace: timedelta) -> bool:
        """Poll no more; wait for what runs, commit it, and have the sensors clean up.

        Returns:
            Whether all polls came back within the grace time. Those that did not are left to
            the end of the process, and what they find is found again.
        """
        self._stopping = True
        self._waker.set()
        self._roster.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        settled = self.settle(grace)
        self._committer.close(timeout=5)
        calls = [
            CleanupCall(worker, self._waker.set)
            for worker in self._workers.values()
            if not worker.busy
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

    def _dispatch(self, worker: Worker) -> bool:
        turn = worker.begin()
        if turn is None:
            return False
        with self._undecided_lock:
            self._undecided += 1
        self._pool.submit(Turn(worker, turn, self._on_decided, self._on_returned))
        return True

    def _arm(self, worker: Worker, due: float) -> None:
        worker.armed = next(self._numbers)
        heapq.heappush(self._heap, (due, worker.armed, worker))

    def _adopt(self, worker: Worker) -> None:
        worker.owned = True
        reason = worker.held_back_by
        if reason is not None:
            logger.warning("not ticked: %s", reason, extra=worker.labels)
        self._arm(worker, self._clock.monotonic() + worker.first_delay())

    def _notice_clock_step(self) -> None:
        drift = self._measure_drift()
        if abs(drift - self._drift) > CLOCK_STEP:
            logger.warning("the clock was set, or the machine slept: every schedule is looked at")
            for worker in self._workers.values():
                if isinstance(worker, ScheduleWorker):
                    self._arm(worker, self._clock.monotonic())
        self._drift = drift

    def _measure_drift(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _receive(self) -> None:
        while not self._messages.empty():
            self._messages.get_nowait()()

    # -- called in other threads --------------------------------------------------------------

    def _on_decided(self, worker: Worker, decision: AnyDecision, holds: int) -> None:
        if isinstance(worker, SensorWorker):
            self._freshness.note(worker, good=decision.outcome.good)
        if not decision.commits:
            self._over(worker, holds, self._wait(decision))
            return
        if holds > 1:
            worker.release(holds - 1)
        self._committer.put(worker, decision)

    def _on_returned(self, worker: Worker) -> None:
        if worker.release():
            self._rearm(worker, worker.backoff_left())

    def _on_sensor(self, name: str, memory: SensorMemory) -> None:
        worker = self._workers[f"sensor:{name}"]
        self._tell_scheduler(partial(self._adopt_sensor, worker, memory))

    def _adopt_sensor(self, worker: Worker, memory: SensorMemory) -> None:
        assert isinstance(worker, SensorWorker)  # noqa: S101 - for the type checker
        worker.memory = memory
        worker.good_at = self._clock.now()
        self._adopt(worker)

    def _on_schedule(self, _: str, record: ScheduleRecord) -> None:
        assert self._make_schedule is not None  # noqa: S101 - for the type checker
        make = partial(self._make_schedule, record)
        worker = ScheduleWorker(record, make, self._store.active_of, self._clock, self._redact)
        self._tell_scheduler(partial(self._adopt_schedule, worker))

    def _adopt_schedule(self, worker: ScheduleWorker) -> None:
        self._workers[worker.source] = worker
        self._adopt(worker)

    def _on_lost(self, kind: str, name: str) -> None:
        worker = self._workers.get(f"{kind}:{name}")
        if worker is not None:
            worker.owned = False

    def _on_look(self) -> None:
        self._freshness.look()
        # The scheduler compares the clocks whenever it is awake.
        self._waker.set()

    def _on_result(self, result: TickResult) -> None:
        self._announcer.result(result)
        if result.events:
            self._wake_engine()

    def _on_verdict(self, verdict: Verdict) -> None:
        worker, decision = verdict.worker, verdict.decision
        delay: float | None = None
        if verdict.committed:
            worker.remember(decision)
            delay = self._wait(decision)
        elif verdict.stale:
            logger.warning(
                "tick discarded: it was changed or taken over meanwhile", extra=worker.labels
            )
            self._shares[worker.kind].forget(worker.name)
        else:
            delay = STORE_RETRY
        self._over(worker, 1, delay)

    def _over(self, worker: Worker, holds: int, delay: float | None = None) -> None:
        overdue = worker.release(holds)
        if delay is not None:
            self._rearm(worker, delay)
        elif overdue:
            self._rearm(worker, 0.0)
        with self._undecided_lock:
            self._undecided -= 1
            idle = not self._undecided
        if idle:
            self._waker.set()

    def _wait(self, decision: AnyDecision) -> float | None:
        if decision.next_at is not None:
            return max(0.0, (decision.next_at - self._clock.now()).total_seconds())
        return None if decision.delay is None else decision.delay.total_seconds()

    def _rearm(self, worker: Worker, delay: float) -> None:
        self._tell_scheduler(partial(self._arm, worker, self._clock.monotonic() + delay))

    def _tell_scheduler(self, message: Callable[[], None]) -> None:
        self._messages.put(message)
        self._waker.set()
