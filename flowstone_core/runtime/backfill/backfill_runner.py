"""Backfill runner: runs a backfill to its end, and becomes a runner while there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from flowstone_core.errors import StoreLostError, StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import Engine
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.backfill.backfill import Backfill, Progress
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.retirement import retire_dead
from flowstone_core.runtime.coordination.store_wait import StopRequestedError, wait_for_store
from flowstone_core.runtime.publisher import Publisher, Watch
from flowstone_core.runtime.signals import StopSignals
from flowstone_core.store import Store

logger = logging.getLogger("flowstone.backfill")

POLL_SECONDS = 1.0
"""Seconds between two queries for materializations that other processes have ended."""


@dataclass(frozen=True)
class EngineParts:
    """An engine in this process and what it needs: heartbeat, dispatcher and publisher."""

    engine: Engine
    heartbeat: Heartbeat
    dispatcher: HookDispatcher
    publisher: Publisher


@dataclass(frozen=True, slots=True)
class BackfillLimits:
    """Longest waits of a backfill.

    Attributes:
        grace: For running attempts, at a graceful stop.
        store_wait: For an unavailable store, at the start.
        since: Monotonic time of the start, if it waited for the store before.
    """

    grace: timedelta
    store_wait: timedelta
    since: float | None = None


BuildEngine: TypeAlias = Callable[[Watch], EngineParts]
"""Builds an engine; takes a function that is called at each change of a materialization."""


class BackfillRunner:
    """Runs a backfill to its end, once.

    Its materializations are run by the live runners. While there is none this process is a
    runner itself, without sensors and schedules.

    Args:
        backfill: The backfill to run.
        build_engine: Called when this process becomes a runner.
        limits: Longest waits.
    """

    def __init__(
        self,
        backfill: Backfill,
        store: Store,
        clock: Clock,
        build_engine: BuildEngine,
        limits: BackfillLimits,
    ) -> None:
        self._backfill = backfill
        self._store = store
        self._clock = clock
        self._build_engine = build_engine
        self._grace = limits.grace
        self._limits = limits
        self._waker = clock.waker()
        self._parts: EngineParts | None = None
        self._stopping = False
        self._unavailable = ReportOnce(
            logger,
            "store unavailable; backfill paused",
            "store available again; backfill resumed",
            level=logging.WARNING,
        )

    def run(self, watch: Callable[[Progress], None]) -> Progress:
        """Run until all partitions have ended, a signal comes, or `stop` is called.

        In the main thread SIGINT and SIGTERM stop gracefully, as they stop a runner.

        Args:
            watch: Called with each new progress, in this thread.

        Returns:
            The last progress.

        Raises:
            StoreError: If the store cannot be used. A store that is unavailable is waited for: at
                the start for ``store_wait``, later without a limit.
        """
        with StopSignals(self.stop):
            try:
                progress = self._first_step()
                watch(progress)
                while not progress.finished and not self._stopping:
                    self._waker.wait(POLL_SECONDS)
                    if not self._stopping:
                        before, progress = progress, self._try_step(progress)
                        if progress != before:
                            watch(progress)
            except StoreLostError:
                self._grace = timedelta(0)  # results of running attempts could not be stored
                raise
            finally:
                self._stop_engine()
            if not progress.finished:
                # Running attempts may have ended within the grace time.
                progress = self._try_step(progress)
                with suppress(StoreUnavailableError):
                    self._backfill.leave()
        return progress

    def stop(self) -> None:
        """Stop `run` gracefully; any thread, and safe in a signal handler."""
        self._stopping = True
        self._waker.set()

    def _first_step(self) -> Progress:
        def wait(seconds: float) -> bool:
            self._waker.wait(seconds)
            return self._stopping

        try:
            limits = self._limits
            return wait_for_store(self._step, self._clock, limits.store_wait, wait, limits.since)
        except StopRequestedError as stopped:
            raise stopped.error from None

    def _try_step(self, before: Progress) -> Progress:
        try:
            progress = self._step()
        except StoreUnavailableError as error:
            self._unavailable.begin(error=describe(error))
            return before
        self._unavailable.end()
        return progress

    def _step(self) -> Progress:
        progress = self._backfill.step(may_ask=lambda: not self._stopping)
        if self._parts is None and not progress.finished and not self._stopping:
            self._start_engine()
        if self._parts is None:
            return progress
        self._parts.engine.wake()
        return replace(progress, here=True)

    def _start_engine(self) -> None:
        """Become a runner if there is none that runs materializations."""
        now = self._clock.now()
        retire_dead(self._store, self._store.peers.all(now), "", now)
        if any(each.materializes for each in self._store.runners.all(alive_at=now)):
            return
        parts = self._build_engine(lambda _: self._waker.set())
        parts.heartbeat.start()
        self._parts = parts
        parts.engine.start()
        parts.dispatcher.dispatch("flowstone_runner_started", runner=parts.heartbeat.runner)

    def _stop_engine(self) -> None:
        parts = self._parts
        if parts is None:
            return
        parts.dispatcher.dispatch("flowstone_runner_stopping", runner=parts.heartbeat.runner)
        if not parts.engine.stop(self._grace):
            logger.warning("not everything ended within the grace time; the next run takes it up")
        parts.heartbeat.stop()
        parts.dispatcher.close(timeout=5)
