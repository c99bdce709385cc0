"""Execution: one attempt; calls the asset function and commits the result."""

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
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.asset_host import AssetHost, ChildPool, ids
from flowstone_core.runtime.isolation.child_process import ChildProcess
from flowstone_core.runtime.isolation.thread_pool import Call

logger = logging.getLogger("flowstone.engine")

_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(seconds=30)


class Execution(Call):
    """Execution of one claimed attempt, to its end, whatever the asset function does.

    Args:
        claim: The attempt.
        setup: The setup of the engine.
        on_end: Called when the attempt is over: committed, found to be stale, or given up.
        children: Lends a child process if the asset runs in processes.
    """

    def __init__(
        self,
        claim: Claim,
        setup: EngineSetup,
        on_end: Callable[[Execution], None],
        children: ChildPool,
    ) -> None:
        self._asset = setup.assets[claim.materialization.asset]
        timeout = self._asset.timeout
        super().__init__(math.inf if timeout is None else timeout.total_seconds())
        self.claim = claim
        self._setup = setup
        self._on_end = on_end
        self._children = children
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
        """Call the asset function and commit the result."""
        if self._cancelled.is_set():  # while it waited for a thread
            self._on_end(self)
            return
        in_process = self._asset.run_in == "process"
        result = self._in_process() if in_process else self._in_thread()
        with self._lock:
            self._returned = True
            timed_out = self._timed_out
        if timed_out and not in_process:
            logger.warning("late result discarded: attempt timed out before", extra=self._ids)
        elif result is not None:
            self._conclude(result)
        elif timed_out:
            self._conclude(self._time_out())
        else:
            self._on_end(self)

    def expired(self) -> None:
        """End the attempt as timed out; a process is killed, a thread's late result discarded."""
        with self._lock:
            if self._returned:
                return
            self._timed_out = True
        self._cancelled.set()
        if self._asset.run_in == "process":
            self._kill()
        else:
            self._conclude(self._time_out())

    def cancel(self) -> None:
        """Cancel the asset function cooperatively, or kill its process; any thread."""
        # After its return the token may be stale because of the attempt's own commit.
        if not self._returned and not self._cancelled.is_set():
            self._cancelled.set()
            logger.warning("running attempt cancelled or taken over", extra=self._ids)
            self._kill()

    def give_up(self) -> None:
        """Stop retrying to commit the result while the store cannot be used; any thread."""
        self._cancelled.set()
        self._given_up = True
        self._kill()
        self._waker.set()

    def _in_thread(self) -> AttemptResult:
        return self._host.attempt(self._asset, self.claim, self._cancelled)

    def _in_process(self) -> AttemptResult | None:
        """Run the attempt in a child process; return None if it was killed because of `cancel`."""
        child = self._children.borrow()
        with self._lock:
            self._child = child
        if self._cancelled.is_set():
            self._kill()
        try:
            result = cast("AttemptResult", child.call("attempt", self._asset, self.claim))
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
            self._children.give_back(child)
        return result

    def _kill(self) -> None:
        with self._lock:  # a child that was given back belongs to another attempt
            if self._child is not None:
                self._child.kill(final=True)

    def _time_out(self) -> AttemptResult:
        hint = "its process was killed"
        if self._asset.run_in == "thread":
            hint = "its late result is discarded; a thread cannot be killed, a process can: run_in"
        message = f"the attempt did not end within its timeout of {self.deadline:g} s"
        return self._host.fail(self._asset, self.claim, AttemptTimeoutError(message, hint=hint))

    def _conclude(self, result: AttemptResult) -> None:
        try:
            for materialization in self._finish(result):
                publish(self._setup, materialization)
        finally:
            self._on_end(self)

    def _finish(self, result: AttemptResult) -> Sequence[Materialization]:
        setup = self._setup
        report = ReportOnce(
            logger,
            "cannot store the result of an attempt; trying again until it is stored",
            "result of an attempt stored after a delay",
        )
        while True:
            try:
                changed = setup.queue.finish(self.claim, result, setup.assets, setup.clock.now())
            except StaleAttemptError as error:
                # After a failure this may be the attempt's own commit, whose answer was lost.
                logger.warning(
                    "result discarded: attempt no longer current",
                    extra={**self._ids, "outcome": result.outcome.value, "error": describe(error)},
                )
                return ()
            except Exception as error:
                if result.state is MaterializationState.COMPLETED and not isinstance(
                    error, StoreError
                ):
                    logger.exception("cannot store a result", extra=self._ids)
                    result = self._host.fail(self._asset, self.claim, error)
                    continue
                report.begin(error=describe(error, setup.redact), **self._ids)
                delay = backoff_delay(report.times, _FIRST_WAIT, _LONGEST_WAIT)
                self._waker.wait(delay.total_seconds())
                if self._given_up:
                    return ()
            else:
                report.end(**self._ids)
                return changed


def publish(setup: EngineSetup, materialization: Materialization) -> None:
    """Publish that a materialization changed; never raises."""
    try:
        setup.publish(materialization)
    except Exception:
        logger.exception(
            "cannot publish a materialization",
            extra={"materialization": materialization.id},
        )
