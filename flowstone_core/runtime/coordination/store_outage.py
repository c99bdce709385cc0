"""Whether the store can be used: known to all of a runner, and said once for each change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flowstone_core.errors import StoreError
from flowstone_core.model.safe_text import describe

logger = logging.getLogger("flowstone.outage")


class StoreOutage:
    """Begins with whoever finds that the store cannot be used, and ends with the first write.

    Only a write ends it: a database on a full disk can still be read. While it lasts nothing is
    polled, because nothing could be kept of what is found. Any thread may use it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def on(self) -> bool:
        """Whether it lasts."""
        return self._on

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called after each change, in the thread that made it."""
        self._listeners.append(listener)

    def begin(self, error: StoreError) -> None:
        """Hear that the store cannot be used; logged if that is news."""
        if self._change(on=True):
            logger.error(
                "the store cannot be used: nothing is polled until it can",
                extra={"error": describe(error)},
            )
            self._tell()

    def end(self) -> None:
        """Hear that something was written; logged if that is news."""
        if self._change(on=False):
            logger.warning("the store can be used again: polling goes on")
            self._tell()

    def _change(self, *, on: bool) -> bool:
        if self._on is on:  # nearly always
            return False
        with self._lock:
            changed = self._on is not on
            self._on = on
        return changed

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
