"""Supervisor: starts the parts of a runner process, waits for its end, and stops them in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from flowstone_core.errors import StoreLostError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import Engine
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.pruner import Pruner
from flowstone_core.runtime.runner import Runner
from flowstone_core.runtime.signals import StopSignals

logger = logging.getLogger("flowstone.supervisor")


class Supervisor:
    """Supervisor of the runner, the engine, the heartbeat and the pruner of one process.

    Args:
        grace: How long a graceful stop waits for running ticks and attempts.
    """

    def __init__(
        self,
        runner: Runner,
        engine: Engine,
        heartbeat: Heartbeat,
        dispatcher: HookDispatcher,
        pruner: Pruner,
        clock: Clock,
        grace: timedelta,
    ) -> None:
        self._runner = runner
        self._engine = engine
        self._heartbeat = heartbeat
        self._dispatcher = dispatcher
        self._pruner = pruner
        self._clock = clock
        self._grace = grace
        heartbeat.count_stuck = lambda: runner.stuck + engine.stuck
        self._end = clock.waker()
        self._signals = StopSignals(self.stop)
        self._lost: StoreLostError | None = None

    def run(self, duration: timedelta | None = None) -> bool:
        """Run until a signal arrives, `stop` is called, or the time is over.

        In the main thread SIGINT, SIGTERM and SIGHUP stop gracefully: nothing new is started, and
        running ticks and attempts may end within the grace time. A second SIGINT or SIGTERM ends
        the process at once; the next runner takes over its work.

        Args:
            duration: Longest time to run; None for no limit.

        Returns:
            True if all running ticks and attempts ended within the grace time.

        Raises:
            StoreError: If the store cannot be used at the start, or is lost while it runs.
        """
        with self._signals, self._started():
            self._runner.start()
            self._end.wait(None if duration is None else duration.total_seconds())
            ended = self._stop()
        if self._lost is not None:
            raise self._lost
        return ended

    def run_once(self) -> bool:
        """Tick each sensor and schedule once, run what is due to its end, and stop.

        Returns:
            True if all running ticks and attempts ended, as for `run`.

        Raises:
            StoreError: If the store cannot be used.
        """
        with self._signals, self._started():
            self._runner.run_once()
            while not self._signals.received and not self._engine.drain(timedelta(seconds=0.2)):
                pass
            return self._stop()

    def stop(self) -> None:
        """Stop `run` gracefully; any thread, and safe in a signal handler."""
        self._end.set()

    def lose(self, error: StoreLostError) -> None:
        """Stop `run` at once and raise the error, because the store is lost; any thread."""
        if self._lost is None:
            self._lost = error
            self.stop()

    @contextmanager
    def _started(self) -> Iterator[None]:
        self._heartbeat.start()
        try:
            self._engine.start()
            self._pruner.start()
            self._dispatcher.dispatch("flowstone_runner_started", runner=self._heartbeat.runner)
            logger.info(
                "runner started",
                extra={"runner": self._heartbeat.runner.id, "pid": self._heartbeat.runner.pid},
            )
            yield
        finally:
            self._pruner.stop()
            self._heartbeat.stop()
            self._dispatcher.close(timeout=5)
            logger.info("runner stopped", extra={"runner": self._heartbeat.runner.id})

    def _stop(self) -> bool:
        self._dispatcher.dispatch("flowstone_runner_stopping", runner=self._heartbeat.runner)
        received = self._signals.received
        extra = {"runner": self._heartbeat.runner.id, "signal": received and received.name}
        logger.info("runner stopping", extra=extra)
        grace = self._grace if self._lost is None else timedelta(0)
        end = self._clock.monotonic() + grace.total_seconds()
        ticked = self._runner.stop(grace)
        left = timedelta(seconds=max(0.0, end - self._clock.monotonic()))
        finished = self._engine.stop(left)
        return ticked and finished
