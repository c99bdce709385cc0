"""The calls that the pool makes for a ticker: one tick, or its clean-up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowstone_core.runtime.isolation.thread_pool import Call
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker

logger = logging.getLogger("flowstone.ticker")


class TickCall(Call):
    """One turn of a ticker.

    Args:
        turn: The turn's number, from `Ticker.begin`.
        on_decided: Told the decision, and how many of the turn's holds go with it: the
            verdict's, and the thread's unless that has not come back.
        on_returned: Told that a thread that was given up has come back.
    """

    __slots__ = ("_on_decided", "_on_returned", "_ticker", "_turn")

    def __init__(
        self,
        ticker: Ticker,
        turn: int,
        on_decided: Callable[[Ticker, AnyDecision, int], None],
        on_returned: Callable[[Ticker], None],
    ) -> None:
        super().__init__(ticker.deadline)
        self._ticker = ticker
        self._turn = turn
        self._on_decided = on_decided
        self._on_returned = on_returned

    def run(self) -> None:
        """Tick and decide."""
        decision = self._ticker.tick(self._turn)
        if decision is None:
            self._on_returned(self._ticker)
        else:
            self._on_decided(self._ticker, decision, 2)

    def expired(self) -> None:
        """End the turn as timed out."""
        decision = self._ticker.expire(self._turn)
        if decision is not None:
            self._on_decided(self._ticker, decision, 1)


class CleanupCall(Call):
    """The clean-up of a ticker.

    Args:
        on_done: Called when it is over, one way or the other.
    """

    __slots__ = ("_on_done", "_ticker", "done")

    def __init__(self, ticker: Ticker, on_done: Callable[[], None]) -> None:
        super().__init__(ticker.deadline)
        self._ticker = ticker
        self._on_done = on_done
        self.done = False

    def run(self) -> None:
        """Have the sensor clean up."""
        self._ticker.cleanup()
        self._end()

    def expired(self) -> None:
        """Wait for it no longer."""
        extra = {**self._ticker.labels, "seconds": self.deadline}
        logger.warning("cleanup did not come back within its sensor's deadline", extra=extra)
        self._ticker.stop()
        self._end()

    def _end(self) -> None:
        self.done = True
        self._on_done()
