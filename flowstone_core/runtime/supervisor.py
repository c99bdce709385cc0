"""The life of the process: start everything, wait for the end, stop in good order."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from flowstone_core.errors import StoreLostError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import Engine
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.pruner import Pruner
from flowstone_core.runtime.runner import Runner

logger = logging.getLogger("flowstone.supervisor")

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SIGNAL_DELAY = 1.0
"""Seconds after which a signal is noticed that woke nobody."""


class Supervisor:
    """Starts and stops the runner, the engine, the heartbeat and the pruner together.

    Args:
        grace: How long a graceful stop waits for what runs.
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
        self._signalled = False
        self._lost: StoreLostError | None = None

    def run(self, duration: timedelta | None = None) -> bool:
        """Run until a signal, `stop`, or the end of ``duration``.

        In the main thread SIGINT and SIGTERM stop gracefully: nothing new is started, what runs
        is waited for within the grace time and given back otherwise. A second one ends the
        process at once; what it held is taken over by the next runner.

        Returns:
            Whether everything that ran had ended when the grace time was over.

        Raises:
            StoreError: If the store cannot be used; while it runs, if no waiting helps.
        """
        with self._signals(), self._started():
            self._runner.start()
            self._wait_for_the_end(None if duration is None else duration.total_seconds())
            ended = self._stop()
        if self._lost is not None:
            raise self._lost
        return ended

    def run_once(self) -> bool:
        """Poll each sensor once, carry what is due to its end, and stop.

        Returns:
            Whether everything that ran had ended, as for `run`.

        Raises:
            StoreError: If the store cannot be used.
        """
        with self._signals(), self._started():
            self._runner.run_once()
            while not self._signalled and not self._engine.drain(timedelta(seconds=0.2)):
                pass
            return self._stop()

    def stop(self) -> None:
        """Have `run` stop gracefully; any thread, and safe in a signal handler."""
        self._end.set()

    def lose(self, error: StoreLostError) -> None:
        """Have `run` stop at once and raise the error: nothing can be kept any more; any thread."""
        if self._lost is None:
            self._lost = error
            self.stop()

    def _wait_for_the_end(self, seconds: float | None) -> None:
        # Python calls a signal's handler when this thread is awake. Where the signal reached
        # another thread, or came in the moment before this one fell asleep, nothing wakes it.
        end = math.inf if seconds is None else self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            if self._end.wait(min(left, SIGNAL_DELAY)):
                return

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
        grace = self._grace if self._lost is None else timedelta(0)
        end = self._clock.monotonic() + grace.total_seconds()
        polled = self._runner.stop(grace)
        left = timedelta(seconds=max(0.0, end - self._clock.monotonic()))
        carried = self._engine.stop(left)
        return polled and carried

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signalled:
            # Nothing may hold this up: not a hung thread, not a lock, not an exit handler.
            os.write(2, b"flowstone: stopped at once by a second signal\n")
            os._exit(128 + number)
        self._signalled = True
        os.write(2, b"flowstone: stopping; a second signal stops at once\n")
        self.stop()
