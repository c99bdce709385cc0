"""Local engine: claims materializations from the store and runs them in this process."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.backoff import store_retry_seconds
from flowstone_core.model.clock import Waker
from flowstone_core.model.engine import ClaimRound, Engine, EngineSetup
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.asset_host import ChildPool
from flowstone_core.runtime.engine.claim_ahead import AHEAD_SECONDS, ClaimAhead
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.engine.held_attempts import HeldAttempts
from flowstone_core.runtime.engine.result_writer import ResultWriter, publish
from flowstone_core.runtime.isolation.thread_pool import ThreadPool
from flowstone_core.runtime.periodic_thread import PeriodicThread

logger = logging.getLogger("flowstone.engine")

CLAIM_SECONDS = 1.0
"""Seconds between two claims without a wake-up: other processes enqueue materializations too."""


@dataclass(frozen=True, slots=True)
class _Round:
    """Result of one round of claiming.

    Attributes:
        idle: True if no attempt ran before the round, and nothing was due.
        wait: Seconds until the next round, unless the engine is woken before.
    """

    idle: bool
    wait: float


class LocalEngine(Engine):
    """Embedded engine: runs materializations in daemon threads of this process.

    One thread claims; daemon threads call the asset functions, so that a hanging one never keeps
    the process from ending. The queue is the store: the next process claims again what a killed
    one held.

    Args:
        setup: Queue, assets, clock and settings of the engine.
    """

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._pool = ThreadPool("flowstone-asset", setup.clock, setup.threads)
        self._children = ChildPool(setup.redact)
        self._claiming = threading.Lock()
        self._held = HeldAttempts(setup)
        self._ahead = ClaimAhead()
        self._writer = ResultWriter(setup, self._on_end)
        self._outage = ReportOnce(
            logger, "cannot claim materializations", "claiming of materializations resumed"
        )
        self._problem: str | None = None
        self._loop = PeriodicThread("engine", self._step, setup.clock)
        # Callers of `drain` and `stop`, each waiting for the next change.
        self._waiting: set[Waker] = set()

    @property
    def alive(self) -> bool:
        """True while the thread that claims runs."""
        return self._loop.alive

    @property
    def stuck(self) -> int:
        """See `Engine.stuck`."""
        return self._pool.stuck

    @property
    def problem(self) -> str | None:
        """See `Engine.problem`."""
        return self._problem

    @property
    def blocked(self) -> bool:
        """See `Engine.blocked`."""
        return self._pool.blocked

    def start(self) -> None:
        """Begin to claim, in a thread; returns at once."""
        self._loop.start()

    def wake(self) -> None:
        """Claim now; any thread, returns at once."""
        self._loop.wake()
        for waker in list(self._waiting):
            waker.set()

    def run_once(self) -> int:
        """Run all that is due, one attempt after the other, in the calling thread.

        For tests and small scripts: no attempt is left running. Without a lease none is claimed.

        Returns:
            The number of attempts.

        Raises:
            StoreError: If the store cannot be used.
        """
        attempts = 0
        while self.setup.may_claim():
            with self._claiming:
                self._held.maintain()
                claimed, found = self._claim(1, now := self.setup.clock.now())
            if not claimed and (found.next_at is None or found.next_at > now):
                break
            for execution in claimed:
                execution.started = self.setup.clock.monotonic()
                execution.run()
                self._writer.write()
                attempts += 1
        return attempts

    def drain(self, timeout: timedelta | None = None) -> bool:
        """Wait until nothing runs and nothing is due; see `Engine.drain`.

        Works whether the engine is started or not.

        Raises:
            StoreError: If the store cannot be used. A store that is unavailable for a while is
                waited for.
        """
        clock = self.setup.clock
        end = None if timeout is None else clock.monotonic() + timeout.total_seconds()
        waker = clock.waker()
        self._waiting.add(waker)
        try:
            while True:
                round_ = self._drain_round()
                if round_.idle:
                    return True
                wait = round_.wait
                if end is not None:
                    left = end - clock.monotonic()
                    if left <= 0:
                        return False
                    wait = min(wait, left)
                waker.wait(wait)
        finally:
            self._waiting.discard(waker)

    def stop(self, grace: timedelta) -> bool:
        """Start no more attempts, wait up to ``grace`` for those that run, release the rest.

        Returns:
            True if all running attempts have ended.
        """
        clock = self.setup.clock
        end = clock.monotonic() + grace.total_seconds()
        waker = clock.waker()
        self._waiting.add(waker)
        self._loop.stop()
        self._writer.retry()  # not after its back-off, which may be longer than the grace time
        self.wake()
        while self._give_back_waiting() and (left := end - clock.monotonic()) > 0:
            waker.wait(left)
        self._waiting.discard(waker)
        rest = self._held.all()
        self._held.release(rest)
        for execution in rest:
            execution.give_up()
        self._writer.close()
        self._pool.close()
        self._children.close()
        return not rest

    # -- claiming -----------------------------------------------------------------------------

    def _step(self) -> float:
        try:
            return min(self._claim_round().wait, self._expire())
        except Exception as error:  # noqa: BLE001 - logged once for an outage; claiming goes on
            return self._back_off(error)

    def _drain_round(self) -> _Round:
        try:
            round_ = self._claim_round()
        except StoreUnavailableError as error:
            return _Round(idle=False, wait=self._back_off(error))
        return _Round(round_.idle, min(round_.wait, self._expire()))

    def _back_off(self, error: Exception) -> float:
        """Report an error if it is the first; return the seconds until the next round."""
        if not isinstance(error, StoreUnavailableError):
            # A fault of a program: perhaps no claim ever succeeds.
            self._problem = f"cannot claim materializations: {describe(error, self.setup.redact)}"
        cause = None if isinstance(error, StoreError) else error
        self._outage.begin(cause, error=describe(error))
        return store_retry_seconds(self._outage.times)

    def _expire(self) -> float:
        """End attempts that are past their timeouts; return the seconds until the next is."""
        return math.inf if (left := self._pool.expire()) is None else left

    def _claim_round(self) -> _Round:
        """Claim what is due and submit it to the pool.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._writer.start()
        with self._claiming:
            # Read before the claim: an attempt that ends after it may make another one due.
            idle = not self._held
            if self._loop.stopping:
                return _Round(idle, CLAIM_SECONDS)
            if not self.setup.may_claim():
                return _Round(idle=False, wait=CLAIM_SECONDS)
            self._held.maintain()
            free, ahead = self._capacity()
            if not free and not ahead:
                return _Round(idle=False, wait=CLAIM_SECONDS)
            now = self.setup.clock.now()
            claimed, found = self._claim(free, now, ahead)
            self._problem = None
            if self._outage.end():
                self._writer.retry()
            self._submit(claimed)
        wait = CLAIM_SECONDS
        if found.next_at is not None and free:
            wait = min(wait, max((found.next_at - now).total_seconds(), 0.0))
        return _Round(idle and not claimed and wait > 0, wait)

    def _capacity(self) -> tuple[int, int]:
        """Return how many attempts to claim for free threads, and how many more ahead."""
        threads, held = self.setup.threads, len(self._held)
        most = self._ahead.allowed(threads - self._pool.busy(AHEAD_SECONDS))
        free, wanted = max(threads - held, 0), max(threads + most - held, 0)
        # One claim of many costs less than many claims: not before half of them have started.
        return free, wanted - free if free or wanted > most // 2 else 0

    def _submit(self, claimed: Sequence[Execution]) -> None:
        submitted = 0
        try:
            for execution in claimed:
                self._pool.submit(execution)
                submitted += 1
        except BaseException:
            # Out of memory: what this runner does not hold is given back by the next round.
            self._held.remove(claimed[submitted:])
            self._held.recover_soon()
            raise

    def _claim(
        self, limit: int, now: datetime, ahead: int = 0
    ) -> tuple[list[Execution], ClaimRound]:
        setup = self.setup
        try:
            found = setup.queue.claim(setup.runner_id, limit, setup.assets, now, ahead)
        except StoreUnavailableError:
            # The claim may have been committed although its answer was lost.
            self._held.recover_soon()
            raise
        claimed = [
            Execution(claim, setup, self._on_result, self._children) for claim in found.claims
        ]
        if self._loop.stopping:
            self._held.take_back(claimed)
            claimed = []
        self._held.add(claimed)
        for materialization in found.changed:
            publish(setup, materialization)
        for execution in claimed:
            publish(setup, execution.claim.materialization)
        return claimed, found

    def _give_back_waiting(self) -> int:
        """Release the attempts that wait for a thread; return the number of those that run."""
        waiting = [execution for execution in self._held.all() if execution.take_back()]
        self._held.take_back(waiting)
        self._held.remove(waiting)
        return len(self._held)

    def _on_result(self, execution: Execution, result: AttemptResult | None) -> None:
        if result is not None:
            self._ahead.note(self.setup.clock.monotonic() - execution.started)
        else:  # perhaps it never started, and is to be given back
            self._held.recover_soon()
        self._writer.put(execution, result)

    def _on_end(self, executions: Sequence[Execution]) -> None:
        self._held.remove(executions)
        self.wake()
