"""Circuit breaker for the store: known to all threads of a runner, reported once per change."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowstone_core.errors import StoreError
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.lease import Lease

logger = logging.getLogger("flowstone.store_outage")


class StoreOutage:
    """Circuit breaker for the store.

    Any thread opens it on the first failed access; the first successful write closes it. A
    successful read does not, because a database on a full disk can still be read. While the
    outage lasts nothing is polled: what a poll finds could not be stored.

    Args:
        lease: The runner's lease; a runner that has stepped down is in an outage, too.
    """

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease
        self._report = ReportOnce(
            logger,
            "store unavailable; polling paused until a write succeeds",
            "store available again; polling resumed",
        )
        self._listeners: list[Callable[[], None]] = []

    @property
    def on(self) -> bool:
        """True while the outage lasts."""
        return self._report.on or not (self._lease is None or self._lease.held)

    def listen(self, listener: Callable[[], None]) -> None:
        """Add a function that is called after each change, in the thread that made it."""
        self._listeners.append(listener)

    def begin(self, error: StoreError) -> None:
        """Begin the outage after a failed access; logged if it was not known."""
        if self._report.begin(error=describe(error)):
            self.tell()

    def end(self) -> None:
        """End the outage after a write; logged if there was one."""
        if self._report.end():
            self.tell()

    def tell(self) -> None:
        """Call the listeners: the outage has begun or ended."""
        for listener in self._listeners:
            listener()
