"""Runner: wires assignments, scheduler and committer together; starts and stops them.

Threads and what they own: the *scheduler* owns the heap of due times; the *pool* ticks and
decides; the *committer* writes; the *reconciler* reads once a second what operators and other
runners did. Everything that concerns the heap reaches the scheduler as a message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import SensorCheckpoint, TickCommit
from flowstone_core.runtime.coordination.assignment import Listeners
from flowstone_core.runtime.coordination.reconciler import AnyAssignment, Reconciler
from flowstone_core.runtime.coordination.schedule_assignment import ScheduleAssignment
from flowstone_core.runtime.coordination.sensor_assignment import SensorAssignment
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.workload import BuildSchedule, Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.ticking.committer import CommitOutcome, Committer
from flowstone_core.runtime.ticking.quiet_reasons import QuietReasons
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleTicker
from flowstone_core.runtime.ticking.scheduler import Scheduler
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.runtime.ticking.staleness import StalenessMonitor
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker
from flowstone_core.store import ScheduleRecord, TickResult

T = TypeVar("T")

logger = logging.getLogger("flowstone.runner")

STORE_RETRY_SECONDS = 5.0
"""Seconds until a tick whose commit failed is repeated."""


class Runner:
    """Ticks the sensors and schedules that are assigned to it.

    Args:
        session: The runner's session: store, runner id, clock, and the store's circuit breaker.
        workload: The assets, sensors and schedules that it is able to run.
        publisher: Publishes each commit.
        redact: Hides secrets in error texts.
        wake_engine: Called after each commit that made a materialization due.
        poll_threads: Ticks that may run at once.
    """

    def __init__(
        self,
        session: RunnerSession,
        workload: Workload,
        *,
        publisher: Publisher,
        redact: Redactor,
        wake_engine: Callable[[], None],
        poll_threads: int = 32,
    ) -> None:
        self._store = session.store
        self._clock = session.clock
        self._publisher = publisher
        self._redact = redact
        self._wake_engine = wake_engine
        self._scheduler = Scheduler(
            session.clock, session.outage, poll_threads, on_decided=self._on_decided
        )
        self._committer = Committer(
            session, workload.assets, redact, self._on_result, self._on_outcome
        )
        self._staleness = StalenessMonitor(session, publisher)
        self._quiet_reasons = QuietReasons(session)
        assets = frozenset(workload.assets)
        self._sensors = {
            sensor.name: SensorTicker(sensor, assets, session.clock, redact)
            for sensor in workload.enabled_sensors
        }
        self._scheduler.tickers.update({ticker.source: ticker for ticker in self._sensors.values()})
        self._assignments = self._assign(session, workload)
        self._reconciler = Reconciler(
            tuple(self._assignments.values()), session, self._on_retired, self._on_reconciled
        )

    @property
    def stuck(self) -> int:
        """Number of ticks that are past their deadlines and have not returned."""
        return self._scheduler.stuck

    @property
    def blocked(self) -> bool:
        """True if every poll thread hangs in a call that does not return."""
        return self._scheduler.blocked

    @property
    def problem(self) -> str | None:
        """What the runner fails to do, again and again, other than for an unavailable store."""
        return self._scheduler.problem or self._reconciler.problem

    def open(self, *, everything: bool = False) -> None:
        """Claim what is free and be ready to `step`; `start` and `run_once` call it.

        Args:
            everything: Claim more than a share of it.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconciler.open(everything=everything)
        self._committer.start()
        self._scheduler.receive()

    def start(self) -> None:
        """Tick in threads until `stop`; returns at once.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open()
        self._scheduler.start()
        self._reconciler.start()

    def run_once(self) -> None:
        """Tick each sensor and schedule once, and return when all ticks are committed.

        Raises:
            StoreError: If the store cannot be used.
        """
        self.open(everything=True)
        self._scheduler.dispatch_all()
        self.settle()
        self._quiet_reasons.record()

    def wake(self) -> None:
        """Look now for what operators and other runners did; any thread, returns at once."""
        self._reconciler.wake()

    def step(self) -> float | None:
        """Do all that is due now; see `Scheduler.step`."""
        return self._scheduler.step()

    def settle(self, grace: timedelta | None = None) -> bool:
        """Wait until every tick that was started is committed or given up.

        See `Scheduler.settle`.
        """
        return self._scheduler.settle(grace)

    def reconcile(self) -> None:
        """Reconcile once with the store, and check for stale sensors; `start` repeats it.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconciler.reconcile()
        self._staleness.check()
        self._quiet_reasons.record()

    def recheck(self) -> None:
        """Find out by name what this runner still owns; any thread.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconciler.recheck()

    def stop(self, grace: timedelta) -> bool:
        """Start no more ticks; wait for those that run, commit them, and clean up the sensors.

        Args:
            grace: Longest wait for the ticks that run.

        Returns:
            True if all ticks returned within the grace time. Those that did not are abandoned to
            the end of the process, and the next runner finds the same events again.
        """
        self._scheduler.stop()
        self._reconciler.stop()
        settled = self._scheduler.settle(grace)
        self._committer.close(timeout=5)
        self._scheduler.close()
        return settled

    # -- assignments: called by the reconciler -------------------------------------------------

    def _assign(self, session: RunnerSession, workload: Workload) -> dict[str, AnyAssignment]:
        assignments: dict[str, AnyAssignment] = {
            "sensor": SensorAssignment(
                session, tuple(self._sensors), self._listeners("sensor", self._on_sensor)
            )
        }
        if workload.build_schedule is not None:
            assignments["schedule"] = ScheduleAssignment(
                session,
                workload,
                workload.build_schedule,
                self._listeners("schedule", partial(self._on_schedule, workload.build_schedule)),
            )
        return assignments

    def _listeners(self, kind: str, on_claimed: Callable[[str, T], None]) -> Listeners[T]:
        return Listeners(on_claimed, partial(self._on_lost, kind), partial(self._is_busy, kind))

    def _on_sensor(self, name: str, checkpoint: SensorCheckpoint) -> None:
        self._scheduler.post(partial(self._adopt_sensor, self._sensors[name], checkpoint))

    def _adopt_sensor(self, ticker: SensorTicker, checkpoint: SensorCheckpoint) -> None:
        ticker.checkpoint = checkpoint
        ticker.good_at = self._clock.now()
        self._quiet_reasons.forget(ticker.name)
        self._scheduler.adopt(ticker)

    def _on_schedule(self, build: BuildSchedule, _: str, record: ScheduleRecord) -> None:
        ticker = ScheduleTicker(
            record,
            partial(build, record),
            self._store.materializations.active,
            self._clock,
            self._redact,
        )
        self._scheduler.post(partial(self._scheduler.adopt, ticker))

    def _on_lost(self, kind: str, name: str) -> None:
        ticker = self._scheduler.tickers.get(f"{kind}:{name}")
        if ticker is not None:
            ticker.owned = False

    def _is_busy(self, kind: str, name: str) -> bool:
        ticker = self._scheduler.tickers.get(f"{kind}:{name}")
        return ticker is not None and ticker.busy

    def _on_retired(self) -> None:
        """Recover the attempts of runners that died; the engine looks for them less often."""
        recovered = self._store.queue.recover(self._clock.now())
        for materialization in recovered:
            self._publisher.materialization(materialization)
        if recovered:
            self._wake_engine()

    def _on_reconciled(self) -> None:
        self._staleness.check()
        self._quiet_reasons.record()
        # The scheduler compares the clocks at each of its steps.
        self._scheduler.wake()

    # -- ticks: called by the pool and the committer ------------------------------------------

    def _on_decided(self, ticker: Ticker, decision: AnyDecision, holds: int) -> None:
        if isinstance(ticker, SensorTicker):
            self._staleness.note(ticker, good=decision.outcome.good)
            self._quiet_reasons.note(ticker, cast("Decision[TickCommit]", decision))
        if not decision.commits:
            self._scheduler.finish(ticker, holds, self._scheduler.delay_of(decision))
            return
        if holds > 1:
            ticker.release(holds - 1)
        self._committer.put(ticker, decision)

    def _on_result(self, result: TickResult) -> None:
        if result.events:
            self._wake_engine()
        self._publisher.result(result)

    def _on_outcome(self, outcome: CommitOutcome) -> None:
        ticker, decision = outcome.ticker, outcome.decision
        delay: float | None = None
        if outcome.committed:
            ticker.remember(decision)
            delay = self._scheduler.delay_of(decision)
        elif outcome.stale:
            logger.warning(
                "tick discarded: changed or taken over before its commit", extra=ticker.labels
            )
            self._assignments[ticker.kind].forget(ticker.name)
        else:
            delay = STORE_RETRY_SECONDS
        self._scheduler.finish(ticker, 1, delay)
