"""Sensors that have had no good poll for too long: said once, shown until they have one."""

from __future__ import annotations

import logging

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.store import Store

logger = logging.getLogger("flowstone.ticker")


class StalenessMonitor:
    """Knows since when a runner's sensors have had no good poll.

    Only those whose last poll was not good are looked at, so that a look costs nothing while all
    is well. What is found is written once; the next good poll's own transaction takes it back.

    Args:
        owner: The runner's id.
        announcer: Told of each sensor that became stale.
        outage: While it lasts nothing is looked at, because nothing is polled.
    """

    def __init__(
        self, store: Store, owner: str, clock: Clock, publisher: Publisher, outage: StoreOutage
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._publisher = publisher
        self._outage = outage
        self._unwell: dict[str, SensorTicker] = {}
        self._stale: set[str] = set()

    def note(self, ticker: SensorTicker, *, good: bool) -> None:
        """Hear of a poll; any thread."""
        if not good:
            self._unwell[ticker.name] = ticker
            return
        ticker.good_at = self._clock.now()
        if self._unwell.pop(ticker.name, None) is not None and ticker.name in self._stale:
            self._stale.discard(ticker.name)
            logger.warning("stale no longer: it was polled", extra=ticker.labels)

    def look(self) -> None:
        """Say which have become stale since the last look; one thread at a time."""
        if self._outage.on:
            return
        now = self._clock.now()
        for ticker in list(self._unwell.values()):
            if not ticker.tickable:  # another runner's, paused, or broken, which says more
                self._unwell.pop(ticker.name, None)
                self._stale.discard(ticker.name)
            elif ticker.name not in self._stale and now - ticker.good_at > ticker.stale_after:
                self._mark(ticker)

    def _mark(self, ticker: SensorTicker) -> None:
        try:
            marked = self._store.sensors.mark_stale(ticker.name, self._owner, ticker.good_at)
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            return
        except StoreError as error:
            extra = {**ticker.labels, "error": describe(error)}
            logger.error("stale, and the store refuses to keep it", extra=extra)  # noqa: TRY400
            marked = False
        self._stale.add(ticker.name)
        if marked:
            self._publisher.stale(ticker.name, ticker.good_at)
