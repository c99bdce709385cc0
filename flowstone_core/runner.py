"""The runner: which sensor is due, poll, decide, commit, tell.

Threads and what they own: the *scheduler* has the heap of due times and nobody else touches it;
the *pool* polls and decides; the *committer* writes; the *watch* looks once a second at what
operators and other runners did. Whatever concerns the heap reaches the scheduler as a message.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import zlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import count

from flowstone_core.announcer import Announcer
from flowstone_core.asset import AssetGraph
from flowstone_core.clock import Clock
from flowstone_core.committer import Committer, Verdict
from flowstone_core.decision import Decision
from flowstone_core.declaration import SensorDeclaration
from flowstone_core.pool import Pool
from flowstone_core.redaction import Redactor
from flowstone_core.roster import Roster
from flowstone_core.store import Store, TickResult
from flowstone_core.tick import SensorMemory
from flowstone_core.turn import CleanupCall, PollTurn
from flowstone_core.worker import SensorWorker

logger = logging.getLogger("flowstone.runner")

SPREAD = 5.0
"""Seconds over which first polls are spread, so that many sensors do not start together."""

STORE_RETRY = 5.0
"""Seconds until a sensor is polled again whose tick could not be written."""


class Runner:
    """Ticks the sensors that it owns.

    Args:
        store: Where ticks are committed.
        runner_id: As registered by the heartbeat.
        sensors: What is declared; only enabled ones are ticked.
        assets: All assets.
        announcer: Told after each commit.
        wake_engine: Called after each commit that made something due.
        poll_threads: Polls that may run at once.
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
    ) -> None:
        self._clock = clock
        self._announcer = announcer
        self._wake_engine = wake_engine
        self._pool = Pool("flowstone-poll", clock, poll_threads)
        self._committer = Committer(
            store, runner_id, assets, clock, redact, self._on_result, self._on_verdict
        )
        self._workers = {
            name: SensorWorker(declaration, assets, clock, redact)
            for name, declaration in sensors.items()
            if declaration.settings.enabled
        }
        self._roster = Roster(
            store, clock, runner_id, self._workers, self._on_claimed, self._on_lost
        )
        self._heap: list[tuple[float, int, SensorWorker]] = []
        self._numbers = count(1)
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker = clock.waker()
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
        """Poll each sensor once, return when all is committed.

        A sensor that asked to be polled later is left alone until then. One that failed is not:
        whoever asks for a poll now wants to know whether it works again.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        for name in sorted(self._workers):
            worker = self._workers[name]
            if not worker.owned:
                reason = "it is paused, or another runner polls it"
            elif worker.memory.broken:
                reason = "it is broken until it is reset"
            elif worker.backoff_left() and not worker.memory.failures:
                reason = f"it asked to be polled after {worker.memory.not_before}"
            else:
                self._dispatch(worker)
                continue
            logger.warning("not polled: %s", reason, extra={"sensor": name})
        self.settle()

    def step(self) -> float | None:
        """Do all that is due now: take messages, give up late polls, start due ones.

        Returns:
            Seconds until there is something to do again; None when nothing is foreseen.
        """
        self._receive()
        waits = [self._pool.expire()]
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, number, worker = heapq.heappop(self._heap)
            if number == worker.armed and worker.pollable and self._dispatch(worker):
                # Start to start, and in step with the first poll; a machine that slept polls
                # once, not as often as it missed.
                missed = (now - due) // worker.every
                self._arm(worker, due + (missed + 1) * worker.every)
                waits.append(worker.deadline)
        if self._heap:
            waits.append(self._heap[0][0] - now)
        return min((max(wait, 0.0) for wait in waits if wait is not None), default=None)

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

    def _dispatch(self, worker: SensorWorker) -> bool:
        turn = worker.begin()
        if turn is None:
            return False
        with self._undecided_lock:
            self._undecided += 1
        self._pool.submit(PollTurn(worker, turn, self._on_decided, self._on_returned))
        return True

    def _arm(self, worker: SensorWorker, due: float) -> None:
        worker.armed = next(self._numbers)
        heapq.heappush(self._heap, (due, worker.armed, worker))

    def _adopt(self, worker: SensorWorker, memory: SensorMemory) -> None:
        worker.memory, worker.owned = memory, True
        if memory.broken:
            logger.warning("not polled: broken until it is reset", extra={"sensor": worker.name})
        spread = zlib.crc32(worker.name.encode()) / 2**32 * min(worker.every, SPREAD)
        self._arm(worker, self._clock.monotonic() + max(spread, worker.backoff_left()))

    def _receive(self) -> None:
        while not self._messages.empty():
            self._messages.get_nowait()()

    # -- called in other threads --------------------------------------------------------------

    def _on_decided(self, worker: SensorWorker, decision: Decision, holds: int) -> None:
        if not decision.commits:
            self._over(worker, holds)
            return
        if holds > 1:
            worker.release(holds - 1)
        self._committer.put(worker, decision)

    def _on_returned(self, worker: SensorWorker) -> None:
        if worker.release():
            self._rearm(worker, worker.backoff_left())

    def _on_claimed(self, name: str, memory: SensorMemory) -> None:
        self._tell_scheduler(partial(self._adopt, self._workers[name], memory))

    def _on_lost(self, name: str) -> None:
        self._workers[name].owned = False

    def _on_result(self, result: TickResult) -> None:
        self._announcer.result(result)
        if result.events:
            self._wake_engine()

    def _on_verdict(self, verdict: Verdict) -> None:
        worker, decision = verdict.worker, verdict.decision
        delay: float | None = None
        if verdict.committed:
            worker.memory = decision.commits[-1].after
            if decision.delay is not None:
                delay = decision.delay.total_seconds()
        elif verdict.stale:
            logger.warning(
                "tick discarded: the sensor was changed or taken over meanwhile",
                extra={"sensor": worker.name},
            )
            self._roster.forget(worker.name)
        else:
            delay = STORE_RETRY
        self._over(worker, 1, delay)

    def _over(self, worker: SensorWorker, holds: int, delay: float | None = None) -> None:
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

    def _rearm(self, worker: SensorWorker, delay: float) -> None:
        self._tell_scheduler(partial(self._arm, worker, self._clock.monotonic() + delay))

    def _tell_scheduler(self, message: Callable[[], None]) -> None:
        self._messages.put(message)
        self._waker.set()
