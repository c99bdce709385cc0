"""The calls that the pool makes for a worker: one tick, or its clean-up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowstone_core.runtime.isolation.thread_pool import Call
from flowstone_core.runtime.ticking.ticker import AnyDecision, Worker

logger = logging.getLogger("flowstone.worker")


class Turn(Call):
    """One turn of a worker.

    Args:
        turn: The turn's number, from `Worker.begin`.
        on_decided: Told the decision, and how many of the turn's holds go with it: the
            verdict's, and the thread's unless that has not come back.
        on_returned: Told that a thread that was given up has come back.
    """

    __slots__ = ("_on_decided", "_on_returned", "_turn", "_worker")

    def __init__(
        self,
        worker: Worker,
        turn: int,
        on_decided: Callable[[Worker, AnyDecision, int], None],
        on_returned: Callable[[Worker], None],
    ) -> None:
        super().__init__(worker.deadline)
        self._worker = worker
        self._turn = turn
        self._on_decided = on_decided
        self._on_returned = on_returned

    def run(self) -> None:
        """Tick and decide."""
        decision = self._worker.tick(self._turn)
        if decision is None:
            self._on_returned(self._worker)
        else:
            self._on_decided(self._worker, decision, 2)

    def expired(self) -> None:
        """End the turn as timed out."""
        decision = self._worker.expire(self._turn)
        if decision is not None:
            self._on_decided(self._worker, decision, 1)


class CleanupCall(Call):
    """The clean-up of a worker.

    Args:
        on_done: Called when it is over, one way or the other.
    """

    __slots__ = ("_on_done", "_worker", "done")

    def __init__(self, worker: Worker, on_done: Callable[[], None]) -> None:
        super().__init__(worker.deadline)
        self._worker = worker
        self._on_done = on_done
        self.done = False

    def run(self) -> None:
        """Have the sensor clean up."""
        self._worker.cleanup()
        self._end()

    def expired(self) -> None:
        """Wait for it no longer."""
        extra = {**self._worker.labels, "seconds": self.deadline}
        logger.warning("cleanup did not come back within its sensor's deadline", extra=extra)
        self._worker.stop()
        self._end()

    def _end(self) -> None:
        self.done = True
        self._on_done()
