"""The embedded engine: claims materializations from the store and makes them in threads."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Waker
from flowstone_core.model.engine import ClaimRound, Engine, EngineSetup
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.asset_host import ChildPool
from flowstone_core.runtime.engine.execution import Execution, announce
from flowstone_core.runtime.isolation.thread_pool import ThreadPool

logger = logging.getLogger("flowstone.engine")

LOOK_EVERY = 1.0
"""Seconds until it looks at the queue again unasked: other processes put work there too."""

RECOVER_EVERY = 10.0
"""Seconds between two looks at what runners that died have left."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the queue found.

    Attributes:
        idle: Whether nothing ran before it, and nothing was due.
        wait: Seconds until it should be looked again, unless something happens before.
    """

    idle: bool
    wait: float


class LocalEngine(Engine):
    """Carries materializations in daemon threads of this process.

    One thread claims, as many as there are threads free for; a pool of daemon threads runs the
    asset functions, so that one that hangs never keeps the process from ending. The queue is the
    store: what a process held that was killed is claimed again by the next.

    Args:
        setup: What it works with.
    """

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._pool = ThreadPool("flowstone-asset", setup.clock, setup.threads)
        self._crew = ChildPool(setup.redact)
        self._claiming = threading.Lock()
        self._running: dict[str, Execution] = {}
        self._begun = False
        self._stopping = False
        self._recover_at = self._check_at = setup.clock.monotonic()
        self._outage = _Outage()
        self._alarm = setup.clock.waker()
        # Each waits for the next thing to happen; set by whatever happens.
        self._alarms: set[Waker] = {self._alarm}
        self._thread = threading.Thread(target=self._run, name="flowstone-engine", daemon=True)

    @property
    def stuck(self) -> int:
        """See `Engine.stuck`."""
        return self._pool.stuck

    def start(self) -> None:
        """Begin to claim, in a thread of its own; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now; any thread, returns at once."""
        for alarm in list(self._alarms):
            alarm.set()

    def run_once(self) -> int:
        """Make all that is due, one after the other, in the calling thread.

        For tests and small scripts: nothing is left running when it returns.

        Returns:
            How many attempts were made.

        Raises:
            StoreError: If the store cannot be used.
        """
        made = 0
        while True:
            with self._claiming:
                self._look_after()
                now = self.setup.clock.now()
                claimed, found = self._claim(1, now)
            if not claimed and (found.next_at is None or found.next_at > now):
                return made
            for execution in claimed:
                execution.run()
                made += 1

    def drain(self, timeout: timedelta | None = None) -> bool:
        """Wait until nothing runs and nothing is due; see `Engine.drain`.

        It works whether the engine is started or not.

        Raises:
            StoreError: If the store cannot be used. One that is unavailable for the moment is
                waited for.
        """
        clock = self.setup.clock
        end = None if timeout is None else clock.monotonic() + timeout.total_seconds()
        alarm = clock.waker()
        self._alarms.add(alarm)
        try:
            while True:
                look = self._drain_look()
                if look.idle:
                    return True
                wait = look.wait
                if end is not None:
                    left = end - clock.monotonic()
                    if left <= 0:
                        return False
                    wait = min(wait, left)
                alarm.wait(wait)
        finally:
            self._alarms.discard(alarm)

    def stop(self, grace: timedelta) -> bool:
        """Start nothing more, wait up to ``grace`` for what runs, give back the rest.

        Returns:
            Whether everything that ran has ended.
        """
        clock = self.setup.clock
        end = clock.monotonic() + grace.total_seconds()
        alarm = clock.waker()
        self._alarms.add(alarm)
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        while self._running and (left := end - clock.monotonic()) > 0:
            alarm.wait(left)
        self._alarms.discard(alarm)
        rest = list(self._running.values())
        self._release(rest)
        for execution in rest:
            execution.give_up()
        self._pool.close()
        self._crew.close()
        return not rest

    # -- the claimer --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self._look().wait
                self._outage.over()
                wait = min(wait, self._expire())
            except Exception as error:  # noqa: BLE001 - logged by the outage; the loop goes on
                wait = self._outage.wait(error)
            self._alarm.wait(wait)

    def _drain_look(self) -> _Look:
        try:
            look = self._look()
        except StoreUnavailableError as error:
            return _Look(idle=False, wait=self._outage.wait(error))
        self._outage.over()
        return _Look(look.idle, min(look.wait, self._expire()))

    def _expire(self) -> float:
        """End attempts that are past their timeouts; return the seconds until the next is."""
        left = self._pool.expire()
        return math.inf if left is None else left

    def _look(self) -> _Look:
        """Claim what is due and hand it out.

        Raises:
            StoreError: If the store cannot be used.
        """
        with self._claiming:
            # Asked before the claim: what ends after it may have made something else due.
            idle = not self._running
            if self._stopping:
                return _Look(idle, LOOK_EVERY)
            self._look_after()
            free = self.setup.threads - len(self._running)
            if free <= 0:
                return _Look(idle=False, wait=LOOK_EVERY)
            now = self.setup.clock.now()
            claimed, found = self._claim(free, now)
            for execution in claimed:
                self._pool.submit(execution)
        wait = LOOK_EVERY
        if found.next_at is not None:
            wait = min(wait, max((found.next_at - now).total_seconds(), 0.0))
        return _Look(idle and not claimed and wait > 0, wait)

    def _claim(self, limit: int, now: datetime) -> tuple[list[Execution], ClaimRound]:
        setup = self.setup
        try:
            found = setup.queue.claim(setup.runner_id, limit, setup.assets, now)
        except StoreUnavailableError:
            # It may have been committed though the answer did not arrive.
            self._recover_at = setup.clock.monotonic()
            raise
        claimed = [Execution(claim, setup, self._on_end, self._crew) for claim in found.claims]
        if self._stopping:
            self._release(claimed)
            claimed = []
        for execution in claimed:
            self._running[execution.claim.token] = execution
        for materialization in found.changed:
            announce(setup, materialization)
        for execution in claimed:
            announce(setup, execution.claim.materialization)
        return claimed, found

    def _look_after(self) -> None:
        """Take over from runners that died; notice attempts that this one has lost."""
        setup = self.setup
        now = setup.clock.monotonic()
        running = dict(self._running)
        if not self._begun:
            setup.queue.requeue_waiting(setup.assets, setup.clock.now())
            self._begun = True
        if now >= self._recover_at:
            for materialization in setup.queue.recover(setup.clock.now(), setup.runner_id, running):
                announce(setup, materialization)
            self._recover_at = now + RECOVER_EVERY
        if running and now >= self._check_at:
            for token in setup.queue.stale_tokens(running):
                running[token].cancel()
            self._check_at = now + LOOK_EVERY

    def _release(self, executions: Sequence[Execution]) -> None:
        if not executions:
            return
        try:
            claims = [execution.claim for execution in executions]
            self.setup.queue.release(claims, self.setup.clock.now())
        except StoreError as error:
            logger.warning(
                "attempts could not be given back; they are taken over when this runner's lease "
                "has ended",
                extra={"attempts": len(executions), "error": describe(error, self.setup.redact)},
            )

    def _on_end(self, execution: Execution) -> None:
        self._running.pop(execution.claim.token, None)
        self.wake()


class _Outage:
    """Says once that the store cannot be used, and once that it can again."""

    def __init__(self) -> None:
        self._failures = 0

    def wait(self, error: Exception) -> float:
        """Hear of a failure; return the seconds to wait before the next try."""
        self._failures += 1
        if self._failures == 1:
            logger.error(
                "materializations cannot be claimed",
                exc_info=None if isinstance(error, StoreError) else error,
                extra={"error": describe(error)},
            )
        delay = backoff_delay(self._failures, timedelta(seconds=1), timedelta(seconds=30))
        return delay.total_seconds()

    def over(self) -> None:
        """Hear that the store was used."""
        if self._failures:
            self._failures = 0
            logger.warning("materializations are claimed again")
