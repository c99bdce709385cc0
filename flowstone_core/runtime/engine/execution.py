"""One attempt: its asset function is called, in a thread or a process, and its end committed."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import cast

from flowstone_core.errors import AttemptTimeoutError, StaleAttemptError, StoreError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.materialization import Claim, Materialization, MaterializationState
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.asset_host import AssetHost, ChildPool, ids
from flowstone_core.runtime.isolation.child_process import ChildProcess
from flowstone_core.runtime.isolation.thread_pool import Call

logger = logging.getLogger("flowstone.engine")

_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(seconds=30)


class Execution(Call):
    """Runs one claimed attempt to its end, whatever the asset function does.

    Args:
        claim: The attempt.
        setup: What the engine was made with.
        on_end: Called when it is over: committed, found to be stale, or given up.
        crew: Has the processes, if it is made in one.
    """

    def __init__(
        self,
        claim: Claim,
        setup: EngineSetup,
        on_end: Callable[[Execution], None],
        crew: ChildPool,
    ) -> None:
        self._asset = setup.assets[claim.materialization.asset]
        timeout = self._asset.timeout
        super().__init__(math.inf if timeout is None else timeout.total_seconds())
        self.claim = claim
        self._setup = setup
        self._on_end = on_end
        self._crew = crew
        self._host = AssetHost(setup.redact, setup.clock)
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._cancelled = threading.Event()
        self._returned = False
        self._timed_out = False
        self._given_up = False
        self._waker = setup.clock.waker()
        self._ids = ids(claim)

    def run(self) -> None:
        """Call the asset function and commit what it amounts to."""
        in_process = self._asset.run_in == "process"
        end = self._in_process() if in_process else self._in_thread()
        with self._lock:
            self._returned = True
            timed_out = self._timed_out
        if timed_out and not in_process:
            logger.warning("late result discarded: the attempt has timed out", extra=self._ids)
        elif end is not None:
            self._conclude(end)
        elif timed_out:
            self._conclude(self._too_long())
        else:
            self._on_end(self)

    def expired(self) -> None:
        """End it as timed out; a process is killed, a thread's late result is discarded."""
        with self._lock:
            if self._returned:
                return
            self._timed_out = True
        self._cancelled.set()
        if self._asset.run_in == "process":
            self._kill()
        else:
            self._conclude(self._too_long())

    def cancel(self) -> None:
        """Tell the asset function that its result will be discarded, or kill it; any thread."""
        # One that has returned cannot be told, and its token may be stale by its own commit.
        if not self._returned and not self._cancelled.is_set():
            self._cancelled.set()
            logger.warning("cancelled or taken over while it runs", extra=self._ids)
            self._kill()

    def give_up(self) -> None:
        """Try no longer to commit its end, if the store cannot be used; any thread."""
        self._cancelled.set()
        self._given_up = True
        self._kill()
        self._waker.set()

    def _in_thread(self) -> AttemptResult:
        return self._host.attempt(self._asset, self.claim, self._cancelled)

    def _in_process(self) -> AttemptResult | None:
        """Have a process make it; None if it was killed because nobody wants it any more."""
        child = self._crew.borrow()
        with self._lock:
            self._child = child
        if self._cancelled.is_set():
            self._kill()
        try:
            end = cast("AttemptResult", child.call("attempt", self._asset, self.claim))
        except Exception as error:  # noqa: BLE001 - however it fails, the attempt has an end
            child.close()
            if self._cancelled.is_set():
                return None
            return self._host.fail(self._asset, self.claim, error)
        with self._lock:
            self._child = None
            perhaps_killed = self._cancelled.is_set()
        if perhaps_killed:
            child.close()
        else:
            self._crew.give_back(child)
        return end

    def _kill(self) -> None:
        with self._lock:  # once it has been given back it is somebody else's
            if self._child is not None:
                self._child.kill(final=True)

    def _too_long(self) -> AttemptResult:
        hint = "its process was killed"
        if self._asset.run_in == "thread":
            hint = "its late result is discarded; a thread cannot be killed, a process can: run_in"
        message = f"the attempt did not end within its timeout of {self.deadline:g} s"
        return self._host.fail(self._asset, self.claim, AttemptTimeoutError(message, hint=hint))

    def _conclude(self, end: AttemptResult) -> None:
        try:
            for materialization in self._finish(end):
                announce(self._setup, materialization)
        finally:
            self._on_end(self)

    def _finish(self, end: AttemptResult) -> Sequence[Materialization]:
        setup = self._setup
        failures = 0
        while True:
            try:
                changed = setup.queue.finish(self.claim, end, setup.assets, setup.clock.now())
            except StaleAttemptError as error:
                # After a failure that may be its own commit, whose answer did not arrive.
                logger.warning(
                    "result discarded: the attempt is not the current one",
                    extra={**self._ids, "outcome": end.outcome.value, "error": describe(error)},
                )
                return ()
            except Exception as error:
                if end.state is MaterializationState.COMPLETED and not isinstance(
                    error, StoreError
                ):
                    logger.exception("the result cannot be stored", extra=self._ids)
                    end = self._host.fail(self._asset, self.claim, error)
                    continue
                failures += 1
                self._wait_for_the_store(error, failures)
                if self._given_up:
                    return ()
            else:
                if failures:
                    logger.warning("the end of an attempt is stored after all", extra=self._ids)
                return changed

    def _wait_for_the_store(self, error: Exception, failures: int) -> None:
        if failures == 1:
            logger.error(
                "the end of an attempt cannot be stored; it is tried until it can",
                extra={**self._ids, "error": describe(error, self._setup.redact)},
            )
        delay = backoff_delay(failures, _FIRST_WAIT, _LONGEST_WAIT)
        self._waker.wait(delay.total_seconds())


def announce(setup: EngineSetup, materialization: Materialization) -> None:
    """Tell who wants to know that a materialization changed; never raises."""
    try:
        setup.announce(materialization)
    except Exception:
        logger.exception(
            "a materialization could not be announced",
            extra={"materialization": materialization.id},
        )
