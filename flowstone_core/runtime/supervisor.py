"""Supervisor: starts the parts of a runner process, waits for its end, and stops them in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from flowstone_core.errors import FlowstoneError, StoreLostError, StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import Engine, RunnerCondition
from flowstone_core.model.role import Role
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.store_wait import (
    StopRequestedError,
    shortest,
    wait_for_store,
)
from flowstone_core.runtime.coordination.wake_up import WakeUp
from flowstone_core.runtime.pruner import Pruner
from flowstone_core.runtime.runner import Runner
from flowstone_core.runtime.signals import StopSignals

logger = logging.getLogger("flowstone.supervisor")


DRAIN_TIME = timedelta(seconds=0.2)
"""Longest time until a run of what is due notices a stop."""

BLOCKED_HINT = (
    "start the runner again; set isolation = process and a deadline for sensors that hang, "
    "run_in and a timeout for assets"
)


@dataclass(frozen=True, slots=True)
class RunTerms:
    """Terms of a run: its longest waits, and the facts logged at the start.

    Attributes:
        grace: How long a graceful stop waits for running ticks and attempts.
        store_wait: How long a start waits for an unavailable store.
        lease: How long every thread may hang before the process ends.
        summary: What is loaded, from where; fields of the log line at the start.
        role: The role of the runner; the engine of one that only ticks is not started.
    """

    grace: timedelta
    store_wait: timedelta
    lease: timedelta
    summary: Mapping[str, object] = field(default_factory=dict)
    role: Role = Role.ALL


class Supervisor:
    """Supervisor of the runner, the engine, heartbeat, pruner and wake-up of one process.

    Args:
        terms: Longest waits, and the facts logged at the start.
    """

    def __init__(
        self,
        runner: Runner,
        engine: Engine,
        heartbeat: Heartbeat,
        dispatcher: HookDispatcher,
        pruner: Pruner,
        wake_up: WakeUp,
        clock: Clock,
        terms: RunTerms,
    ) -> None:
        self._runner = runner
        self._engine = engine
        self._heartbeat = heartbeat
        self._dispatcher = dispatcher
        self._pruner = pruner
        self._wake_up = wake_up
        self._clock = clock
        self._terms = terms
        self._blocked_since: float | None = None
        heartbeat.inspect = self._inspect
        heartbeat.on_expired = runner.recheck
        self._end = clock.waker()
        self._stopping = False
        self._signals = StopSignals(self.stop)
        self._failure: FlowstoneError | None = None

    def run(self, duration: timedelta | None = None, since: float | None = None) -> bool:
        """Run until a signal arrives, `stop` is called, or the time is over.

        In the main thread SIGINT, SIGTERM and SIGHUP stop gracefully: nothing new is started, and
        running ticks and attempts may end within the grace time. A second SIGINT or SIGTERM ends
        the process at once; the next runner takes over its work.

        Args:
            duration: Longest time to run; None for no limit.
            since: Monotonic time of the start, if it waited for the store before.

        Returns:
            True if all running ticks and attempts ended within the grace time.

        Raises:
            StoreError: If the store cannot be used at the start, or is lost while it runs. A
                store that is unavailable is waited for: until this process is registered for
                ``store_wait`` and at most the duration, later without a limit.
            FlowstoneError: If every thread hangs, for longer than a lease.
        """
        since = self._clock.monotonic() if since is None else since
        end = None if duration is None else since + duration.total_seconds()
        limit = shortest(self._terms.store_wait, duration)
        with self._signals, self._started(limit, since) as started:
            if started and self._wait_for_store(self._runner.start, None, end):
                self._wake_up.start()
                self._end.wait(None if end is None else end - self._clock.monotonic())
            ended = self._stop() if started else True
        if self._failure is not None:
            raise self._failure
        return ended

    def run_once(self, since: float | None = None) -> bool:
        """Tick each sensor and schedule once, run what is due to its end, and stop.

        Args:
            since: As for `run`.

        Returns:
            True if all running ticks and attempts ended, as for `run`.

        Raises:
            StoreError: If the store cannot be used.
        """
        with self._signals, self._started(self._terms.store_wait, since) as started:
            if not started:
                return True
            if self._wait_for_store(self._runner.run_once, self._terms.store_wait):
                self._drain()
            ended = self._stop()
        if self._failure is not None:
            raise self._failure
        return ended

    def stop(self) -> None:
        """Stop `run` and `run_once` gracefully; any thread, and safe in a signal handler."""
        self._stopping = True
        self._end.set()

    def fail(self, error: FlowstoneError) -> None:
        """Stop at once and raise the error in the run, which cannot continue; any thread."""
        if self._failure is None:
            self._failure = error
            self.stop()

    def _drain(self) -> None:
        """Run what is due to its end, or until `stop` or `fail` is called."""
        if self._terms.role.materializes:
            while not self._stopping and not self._engine.drain(DRAIN_TIME):
                pass

    @contextmanager
    def _started(self, limit: timedelta, since: float | None) -> Iterator[bool]:
        if not self._wait_for_store(self._heartbeat.start, limit, since=since):
            yield False
            return
        try:
            if self._terms.role.materializes:
                self._engine.start()
            self._pruner.start()
            self._dispatcher.dispatch("flowstone_runner_started", runner=self._heartbeat.runner)
            runner = self._heartbeat.runner
            ids = {"runner": runner.id, "pid": runner.pid}
            logger.info("runner started", extra={**ids, **self._terms.summary})
            yield True
        finally:
            self._wake_up.stop()
            self._pruner.stop()
            self._heartbeat.stop()
            self._dispatcher.close(timeout=5)
            logger.info("runner stopped", extra={"runner": self._heartbeat.runner.id})

    def _wait_for_store(
        self,
        step: Callable[[], None],
        limit: timedelta | None,
        end: float | None = None,
        since: float | None = None,
    ) -> bool:
        """Return False if the process was asked to stop first, or its time is over."""
        outage = self._heartbeat.outage

        def attempt() -> None:
            try:
                step()
            except StoreUnavailableError as error:
                if limit is None:  # a pause as any other
                    outage.begin(error)
                raise
            outage.end()

        def wait(seconds: float) -> bool:
            if end is None:
                return self._end.wait(seconds)
            left = end - self._clock.monotonic()
            return self._end.wait(min(seconds, left)) or seconds >= left

        try:
            wait_for_store(attempt, self._clock, limit, wait, since)
        except StopRequestedError:
            return False
        return True

    def _inspect(self) -> RunnerCondition:
        """Return the condition of this process; end the process if it starts nothing more."""
        runner, engine = self._runner, self._engine
        now = self._clock.monotonic()
        blocked = runner.blocked or engine.blocked
        problem = runner.problem or engine.problem
        if not blocked:
            self._blocked_since = None
        else:
            kind = "poll" if runner.blocked else "asset"
            problem = f"every {kind} thread hangs in a call that does not return"
            if self._blocked_since is None:
                self._blocked_since = now
            elif now - self._blocked_since >= self._terms.lease.total_seconds():
                self.fail(FlowstoneError(problem, hint=BLOCKED_HINT))
        return RunnerCondition(runner.stuck + engine.stuck, problem, blocked)

    def _stop(self) -> bool:
        self._dispatcher.dispatch("flowstone_runner_stopping", runner=self._heartbeat.runner)
        received = self._signals.received
        extra = {"runner": self._heartbeat.runner.id, "signal": received and received.name}
        logger.info("runner stopping", extra=extra)
        is_lost = isinstance(self._failure, StoreLostError)
        grace = timedelta(0) if is_lost else self._terms.grace
        end = self._clock.monotonic() + grace.total_seconds()
        # Where every thread hangs, the ticks that wait for one do not begin.
        ticked = self._runner.stop(grace if self._failure is None else timedelta(0))
        left = timedelta(seconds=max(0.0, end - self._clock.monotonic()))
        finished = self._engine.stop(left)
        return ticked and finished
