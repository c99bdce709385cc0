"""The life of a backfill's process: ask, wait, make what nobody else does, stop in good order."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from types import FrameType
from typing import TypeAlias

from flowstone_core.errors import StoreLostError, StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import Engine
from flowstone_core.model.safe_text import describe
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.backfill.backfill import Backfill, Progress
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.publisher import Publisher, Watch
from flowstone_core.store import Store

logger = logging.getLogger("flowstone.backfill")

LOOK_EVERY = 1.0
"""Seconds between two looks at what other processes have made."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class EngineParts:
    """What makes materializations in this process, and says that it lives."""

    engine: Engine
    heartbeat: Heartbeat
    dispatcher: HookDispatcher
    publisher: Publisher


Equip: TypeAlias = Callable[[Watch], EngineParts]
"""Makes the equipment; takes who is told of each change of a materialization."""


class BackfillRunner:
    """Carries a backfill to its end, once.

    Its materializations are made by the runners that are alive. While there is none this process
    is one itself, without sensors and schedules.

    Args:
        backfill: What is carried.
        equip: Called when this process becomes a runner.
        grace: How long a graceful stop waits for what runs.
    """

    def __init__(
        self, backfill: Backfill, store: Store, clock: Clock, equip: Equip, grace: timedelta
    ) -> None:
        self._backfill = backfill
        self._store = store
        self._clock = clock
        self._equip = equip
        self._grace = grace
        self._alarm = clock.waker()
        # Never started: it knows which runners of this machine are gone.
        self._outlook = Heartbeat(store, clock, timedelta(0))
        self._equipment: EngineParts | None = None
        self._stopping = self._signalled = False
        self._down = False

    def run(self, watch: Callable[[Progress], None]) -> Progress:
        """Run until all partitions have ended, a signal comes, or `stop` is called.

        In the main thread SIGINT and SIGTERM stop gracefully, as they do a runner.

        Args:
            watch: Called with each new progress, in this thread.

        Returns:
            How far it came.

        Raises:
            StoreError: If the store cannot be used; one that is unavailable for the moment, once
                the backfill has begun, is waited for.
        """
        with self._signals():
            try:
                progress = self._step()
                watch(progress)
                while not progress.finished and not self._stopping:
                    self._alarm.wait(LOOK_EVERY)
                    if not self._stopping:
                        before, progress = progress, self._try_step(progress)
                        if progress != before:
                            watch(progress)
            except StoreLostError:
                self._grace = timedelta(0)  # what still runs could not be recorded
                raise
            finally:
                self._put_down()
            if not progress.finished:
                # What ran may have ended within the grace time.
                progress = self._try_step(progress)
        return progress

    def stop(self) -> None:
        """Have `run` stop gracefully; any thread, and safe in a signal handler."""
        self._stopping = True
        self._alarm.set()

    def _try_step(self, before: Progress) -> Progress:
        try:
            progress = self._step()
        except StoreUnavailableError as error:
            if not self._down:
                self._down = True
                logger.warning("the backfill waits", extra={"error": describe(error)})
            return before
        self._down = False
        return progress

    def _step(self) -> Progress:
        progress = self._backfill.step(ask=not self._stopping)
        if self._equipment is None and not progress.finished and not self._stopping:
            self._take_up()
        if self._equipment is None:
            return progress
        self._equipment.engine.wake()
        return replace(progress, here=True)

    def _take_up(self) -> None:
        """Become a runner if there is none."""
        self._outlook.retire_dead()
        if self._store.runners.all(alive_at=self._clock.now()):
            return
        equipment = self._equip(lambda _: self._alarm.set())
        equipment.heartbeat.start()
        self._equipment = equipment
        equipment.engine.start()
        runner = equipment.heartbeat.runner
        equipment.dispatcher.dispatch("flowstone_runner_started", runner=runner)

    def _put_down(self) -> None:
        equipment = self._equipment
        if equipment is None:
            return
        runner = equipment.heartbeat.runner
        equipment.dispatcher.dispatch("flowstone_runner_stopping", runner=runner)
        if not equipment.engine.stop(self._grace):
            logger.warning("not everything ended within the grace time; the next run takes it up")
        equipment.heartbeat.stop()
        equipment.dispatcher.close(timeout=5)

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
