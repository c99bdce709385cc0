"""Result writer: commits the results of attempts; those that end together share one transaction."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from flowstone_core.errors import StaleAttemptError, StoreLostError, StoreUnavailableError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.backoff import store_retry_seconds
from flowstone_core.model.engine import AttemptEnd, EndRound, EngineSetup
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.periodic_thread import start_thread

logger = logging.getLogger("flowstone.engine")

GROUP_LIMIT = 100
"""Most results in one transaction: a larger one gains little and delays other writers."""


class _Ended:
    """Attempt with its result, until that is written."""

    __slots__ = ("execution", "refusal", "result")

    def __init__(self, execution: Execution, result: AttemptResult) -> None:
        self.execution = execution
        self.result = result
        self.refusal = _report()


class ResultWriter:
    """Group commit of results: all that end while one group is written are the next group.

    A result is tried again until the store takes it, finds it stale, or its execution is given up.
    The thread that made a result does not wait for its commit.

    Args:
        setup: The setup of the engine.
        on_end: Called with the executions that are over: written, found to be stale or given up.
    """

    def __init__(self, setup: EngineSetup, on_end: Callable[[Sequence[Execution]], None]) -> None:
        self._setup = setup
        self._on_end = on_end
        self._ended: deque[_Ended] = deque()
        self._again: list[_Ended] = []
        # A bell beside the waker: what waits for results is not what waits for time to pass.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waker = setup.clock.waker()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._outage = _report()
        self._tries = 0
        self._retry_at = -math.inf

    def start(self) -> None:
        """Start the thread that writes, unless there is one.

        Raises:
            FlowstoneError: If the system refuses the thread, again and again.
        """
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="flowstone-results", daemon=True)
            start_thread(thread, self._setup.clock)
            self._thread = thread

    def put(self, execution: Execution, result: AttemptResult | None) -> None:
        """Queue the result of an attempt for writing; any thread, returns at once.

        Args:
            execution: The attempt that is over.
            result: Its result; None if there is nothing to write.
        """
        if result is None:
            self._on_end([execution])
            return
        self._ended.append(_Ended(execution, result))
        self._bell.put(None)
        if self._again:
            self._waker.set()
        if self._closed:
            self.write()

    def retry(self) -> None:
        """Try results again now that the store did not take; any thread, returns at once."""
        self._retry_at = -math.inf
        self._bell.put(None)
        self._waker.set()

    def write(self) -> None:
        """Write all results that wait, in the calling thread; return when none is left."""
        while True:
            wait = self._write_waiting()
            if wait is None:
                return
            self._waker.wait(wait)

    def close(self) -> None:
        """End the thread when all results are written or given up; later ones need no thread."""
        self._closed = True
        self.retry()

    def _run(self) -> None:
        wait: float | None = None
        while wait is not None or not self._closed or self._ended:
            if wait is None:
                self._bell.get()
            else:
                self._waker.wait(wait)
            wait = self._write_waiting()

    def _write_waiting(self) -> float | None:
        """Write what waits; return the seconds until the next try, or None if nothing is left."""
        with self._writing:
            while True:
                while not self._bell.empty():
                    self._bell.get()
                again, self._again = self._again, []
                self._keep(again)
                left = self._retry_at - self._setup.clock.monotonic()
                # Without a store new results wait with the others, or each would be a try.
                if self._again and left > 0 and (self._outage.on or not self._ended):
                    return left
                group = [self._ended.popleft() for _ in range(len(self._ended))]
                if left <= 0 or not self._again:
                    group, self._again = self._again + group, []
                    self._retry_at = math.inf
                if not group:
                    return None
                for first in range(0, len(group), GROUP_LIMIT):
                    self._write_safely(group[first : first + GROUP_LIMIT])
                self._schedule_retry()

    def _schedule_retry(self) -> None:
        if not self._again:
            self._tries = 0
        elif self._retry_at == math.inf:
            self._tries += 1
            self._retry_at = self._setup.clock.monotonic() + store_retry_seconds(self._tries)

    def _write_safely(self, group: Sequence[_Ended]) -> None:
        try:
            self._write(group)
        except Exception:  # of ours: the thread must go on, and no result may be lost
            logger.exception("cannot write results of attempts; trying again")
            self._again += [each for each in group if not each.execution.over]

    def _write(self, group: Sequence[_Ended]) -> None:
        setup = self._setup
        ends = [AttemptEnd(each.execution.claim, each.result) for each in group]
        try:
            written = setup.queue.finish(ends, setup.assets, setup.clock.now())
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error=describe(error, setup.redact), **group[0].execution.ids)
            self._keep(group)
        except Exception as error:
            if len(group) == 1:
                self._refuse(group[0], error)
                return
            # The data of one attempt must not fail the others: each gets its own transaction,
            # and only a result that the store refuses again has failed.
            logger.debug("group of results refused; writing each alone", exc_info=True)
            for each in group:
                self._write([each])
        else:
            self._outage.end(**group[0].execution.ids)
            self._conclude(group, written)

    def _refuse(self, each: _Ended, error: Exception) -> None:
        execution = each.execution
        if each.result.state is MaterializationState.COMPLETED:
            logger.error("cannot store a result", exc_info=error, extra=execution.ids)
            each.result = execution.fail(error)
            self._write([each])
            return
        each.refusal.begin(error=describe(error, self._setup.redact), **execution.ids)
        self._keep([each])

    def _keep(self, group: Sequence[_Ended]) -> None:
        """Keep results for the next try, unless they are given up."""
        given_up = [each.execution for each in group if each.execution.given_up]
        self._again += [each for each in group if not each.execution.given_up]
        self._end(given_up)

    def _conclude(self, group: Sequence[_Ended], written: EndRound) -> None:
        for each in group:
            stale = written.stale.get(each.execution.claim.token)
            if stale is not None:
                self._report_stale(each, stale)
            each.refusal.end(**each.execution.ids)
        for materialization in written.changed:
            publish(self._setup, materialization)
        self._end([each.execution for each in group])

    def _end(self, executions: Sequence[Execution]) -> None:
        for execution in executions:
            execution.over = True
        if executions:
            self._on_end(executions)

    def _report_stale(self, each: _Ended, error: StaleAttemptError) -> None:
        # After a failure this may be the attempt's own commit, whose answer was lost.
        extra = {"outcome": each.result.outcome.value, "error": describe(error)}
        logger.warning(
            "result discarded: attempt no longer current", extra={**each.execution.ids, **extra}
        )


def publish(setup: EngineSetup, materialization: Materialization) -> None:
    """Publish that a materialization changed; never raises."""
    try:
        setup.publish(materialization)
    except Exception:
        logger.exception(
            "cannot publish a materialization",
            extra={"materialization": materialization.id},
        )


def _report() -> ReportOnce:
    return ReportOnce(
        logger,
        "cannot store the result of an attempt; trying again until it is stored",
        "result of an attempt stored after a delay",
    )
