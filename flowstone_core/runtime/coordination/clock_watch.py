"""Watch of the clock: sets it to the time of the store, and warns if the machine's is wrong."""

from __future__ import annotations

import logging
from datetime import datetime

from flowstone_core.model.clock import Clock, StoreClock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.store import Store

logger = logging.getLogger("flowstone.clock")

LARGEST_OFFSET = 1.0
"""Seconds by which the machine's clock may differ from the store's without a warning."""


def open_store(url: str, clock: Clock) -> Store:
    """Open a store, and set a clock to its time; the clock of a test is left alone.

    Raises:
        ValidationError: As for `Store.open`.
        StoreError: As for `Store.open`.
    """
    store = Store.open(url)
    if isinstance(clock, StoreClock):
        asked_at = clock.monotonic()
        try:
            now = store.now()
        except BaseException:
            store.close()
            raise
        if now is not None:
            clock.set(now, asked_at)
    return store


class ClockWatch:
    """Sets a runner's clock to each answer of the store, and warns once of a wrong one.

    Args:
        clock: The runner's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._report = ReportOnce(
            logger,
            "the clock of this machine differs from the store's; FlowStone goes by the store's",
            "the clock of this machine agrees with the store's again",
            level=logging.WARNING,
        )

    @property
    def offset(self) -> float | None:
        """Seconds by which the machine's clock is ahead of the store's; None if not known."""
        return self._clock.offset if isinstance(self._clock, StoreClock) else None

    def answered(self, now: datetime | None, asked_at: float) -> None:
        """Take the time that the store has just answered; None if it has none.

        Args:
            now: The time.
            asked_at: When it was asked for, in monotonic seconds.
        """
        if now is None or not isinstance(self._clock, StoreClock):
            return
        self._clock.set(now, asked_at)
        offset = self._clock.offset or 0.0
        if abs(offset) > LARGEST_OFFSET:
            self._report.begin(seconds_ahead=round(offset, 1))
        else:
            self._report.end()
