"""Pool calls of a ticker: one tick, or its clean-up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowstone_core.runtime.isolation.thread_pool import Call
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker

logger = logging.getLogger("flowstone.ticker")


class TickCall(Call):
    """One tick of a ticker, in a thread of the pool.

    Args:
        number: The number of the tick call, from `Ticker.begin`.
        on_decided: Called with the decision and the number of holds that end with it: that of
            the outcome, and that of the thread unless the thread has not returned.
        on_returned: Called when an abandoned thread has returned.
    """

    __slots__ = ("_number", "_on_decided", "_on_returned", "_ticker")

    def __init__(
        self,
        ticker: Ticker,
        number: int,
        on_decided: Callable[[Ticker, AnyDecision, int], None],
        on_returned: Callable[[Ticker], None],
    ) -> None:
        super().__init__(ticker.deadline)
        self._ticker = ticker
        self._number = number
        self._on_decided = on_decided
        self._on_returned = on_returned

    def run(self) -> None:
        """Tick and decide."""
        try:
            decision = self._ticker.tick(self._number)
        except BaseException as error:  # noqa: BLE001 - out of memory: the tick call must end
            current = self._ticker.expire(self._number) is not None
            decision = self._ticker.refuse(error) if current else None
        if decision is None:
            self._on_returned(self._ticker)
        else:
            self._on_decided(self._ticker, decision, 2)

    def expired(self) -> None:
        """End the tick call as timed out."""
        decision = self._ticker.expire(self._number)
        if decision is not None:
            self._on_decided(self._ticker, decision, 1)


CLEANUP_SECONDS = 5.0
"""Longest clean-up at the end of a runner, whatever the sensor's deadline: the process must end."""


class CleanupCall(Call):
    """The clean-up of a ticker, in a thread of the pool, for at most `CLEANUP_SECONDS`.

    Args:
        on_done: Called when the clean-up has returned or timed out.

    Attributes:
        done: True once the clean-up has returned or timed out.
    """

    __slots__ = ("_on_done", "_ticker", "done")

    def __init__(self, ticker: Ticker, on_done: Callable[[], None]) -> None:
        super().__init__(min(ticker.deadline, CLEANUP_SECONDS))
        self._ticker = ticker
        self._on_done = on_done
        self.done = False

    def run(self) -> None:
        """Clean up."""
        self._ticker.cleanup()
        self._end()

    def expired(self) -> None:
        """Give up the clean-up; a process is killed."""
        extra = {**self._ticker.labels, "seconds": self.deadline}
        logger.warning("cleanup did not return within its time limit", extra=extra)
        self._ticker.stop()
        self._end()

    def _end(self) -> None:
        self.done = True
        self._on_done()
