"""Periodic daemon thread: the loop protocol of heartbeat, pruner, reconciler, scheduler, engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flowstone_core.errors import FlowstoneError
from flowstone_core.model.clock import Clock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe

START_TRIES = 30
"""Tries to start a thread, a second apart, before a start fails."""

JOIN_SECONDS = 5.0
"""Longest wait for the end of a step when the thread is stopped."""


class PeriodicThread:
    """Daemon thread that runs one step again and again, and waits between the steps.

    An exception that a step raises is logged, once until a step succeeds, and the next step
    follows: the thread ends with `stop` alone. Thread and logger are named after the duty:
    ``reconciler`` runs in the thread ``flowstone-reconciler``, logs to ``flowstone.reconciler``.

    Args:
        duty: The duty, one word.
        step: Runs once; returns the seconds until the next step, None to wait for `wake`.
        clock: Measures the waits.
        first_wait: Seconds before the first step.
        retry_seconds: Seconds until the next step after one that raised an exception.

    Attributes:
        problem: The error of the last step, if that step failed.
    """

    def __init__(
        self,
        duty: str,
        step: Callable[[], float | None],
        clock: Clock,
        *,
        first_wait: float = 0.0,
        retry_seconds: float = 1.0,
    ) -> None:
        self._duty = duty
        self._step = step
        self._first_wait = first_wait
        self._retry_seconds = retry_seconds
        self._logger = logging.getLogger(f"flowstone.{duty}")
        self._clock = clock
        self._waker = clock.waker()
        self._stopping = False
        self._failure = ReportOnce(
            self._logger,
            "periodic step failed; the next step follows",
            "periodic steps succeed again",
        )
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"flowstone-{duty}", daemon=True)

    @property
    def alive(self) -> bool:
        """True from `start` until the thread has ended."""
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """True once `stop` was called; a long step should return soon."""
        return self._stopping

    def start(self) -> None:
        """Start the thread; call once.

        Raises:
            FlowstoneError: If the system refuses the thread, again and again.
        """
        start_thread(self._thread, self._clock)

    def wake(self) -> None:
        """End the present wait, or the next one; any thread."""
        self._waker.set()

    def wait(self, seconds: float | None) -> None:
        """Wait until `wake` or `stop` is called, inside a step or where no thread was started.

        Args:
            seconds: Longest wait; None for no limit.
        """
        self._waker.wait(seconds)

    def stop(self) -> None:
        """Stop after the step that runs, and wait for its end for at most `JOIN_SECONDS`.

        A step may call it too; the thread then ends when the step returns.
        """
        self._stopping = True
        self._waker.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=JOIN_SECONDS)

    def _run(self) -> None:
        seconds: float | None = self._first_wait
        # Read before each wait too: a step that waits may have cleared the alarm of `stop`.
        while not self._stopping:
            self._waker.wait(seconds)
            if self._stopping:
                return
            try:
                seconds = self._step()
            except Exception as error:  # noqa: BLE001 - the thread must go on, whatever it is
                self.problem = f"{self._duty} failed: {describe(error)}"
                self._failure.begin(error)
                seconds = self._retry_seconds
            else:
                self.problem = None
                self._failure.end()


def start_thread(thread: threading.Thread, clock: Clock) -> None:
    """Start a thread; try again while the system refuses it, at most `START_TRIES` times.

    Raises:
        FlowstoneError: If the system refuses the thread each time.
    """
    logger = logging.getLogger(thread.name.replace("-", ".", 1))
    report = ReportOnce(
        logger, "cannot start a thread; trying again every second", "thread started"
    )
    while True:
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if thread.ident is not None:  # it was started before
                raise
            report.begin(threads=thread.name, error=describe(error))
            if report.times >= START_TRIES:
                raise FlowstoneError(
                    f"cannot start the thread {thread.name}: {describe(error)}",
                    hint="raise the limit of threads, or of memory",
                ) from error
            clock.waker().wait(1.0)
        else:
            report.end(threads=thread.name)
            return
