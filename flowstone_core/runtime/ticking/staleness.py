"""Staleness monitor: reports sensors without a good poll for longer than their limit."""

from __future__ import annotations

import logging

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

logger = logging.getLogger("flowstone.staleness")


class StalenessMonitor:
    """Reports each sensor of a runner once when it becomes stale, and when it is fresh again.

    Only sensors whose last poll was not good are checked, so that a check costs nothing while
    all polls are good. A stale sensor is marked in the store; the transaction of its next good
    poll removes the mark.

    Args:
        session: The runner's session; nothing is checked during an outage, because nothing is
            polled.
        publisher: Publishes each sensor that became stale.
    """

    def __init__(self, session: RunnerSession, publisher: Publisher) -> None:
        self._store = session.store
        self._runner_id = session.runner_id
        self._clock = session.clock
        self._outage = session.outage
        self._publisher = publisher
        self._failing: dict[str, SensorTicker] = {}
        self._stale: set[str] = set()

    def note(self, ticker: SensorTicker, *, good: bool) -> None:
        """Record the outcome of a poll; any thread."""
        if not good:
            self._failing[ticker.name] = ticker
            return
        ticker.good_at = self._clock.now()
        if self._failing.pop(ticker.name, None) is not None and ticker.name in self._stale:
            self._stale.discard(ticker.name)
            logger.warning("sensor no longer stale", extra=ticker.labels)

    def check(self) -> None:
        """Mark the sensors that have become stale since the last check; one thread at a time."""
        if self._outage.on:
            return
        now = self._clock.now()
        for ticker in list(self._failing.values()):
            if not ticker.tickable:  # lost, paused, or broken, which says more than stale
                self._failing.pop(ticker.name, None)
                self._stale.discard(ticker.name)
            elif ticker.name not in self._stale and now - ticker.good_at > ticker.stale_after:
                self._mark(ticker)

    def _mark(self, ticker: SensorTicker) -> None:
        try:
            marked = self._store.sensors.mark_stale(ticker.name, self._runner_id, ticker.good_at)
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            return
        except StoreError as error:
            extra = {**ticker.labels, "error": describe(error)}
            logger.error("cannot mark a sensor as stale in the store", extra=extra)  # noqa: TRY400
            marked = False
        self._stale.add(ticker.name)
        if marked:
            self._publisher.stale(ticker.name, ticker.good_at)
