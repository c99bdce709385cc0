"""Wake-up: the thread that begins at once what another process made available.

Without it the engine looks for materializations once a second, and the reconciler for sensors and
schedules. Both still do: a wake-up that is lost costs a second, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowstone_core.errors import StoreError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.backoff import store_retry_seconds
from flowstone_core.model.clock import Clock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.store import CommitListener, Store

logger = logging.getLogger("flowstone.wake_up")

WAIT_SECONDS = 60.0
"""Longest wait for a commit."""


class WakeUp:
    """Thread that waits for commits of other processes, and wakes who has something to do.

    Args:
        store: The store.
        assets: The assets whose materializations this process may start.
        clock: The clock of due times.
        wake_engine: Called if a materialization is due.
        wake_reconciler: Called if the sensors and schedules without an owner have changed.
    """

    def __init__(
        self,
        store: Store,
        assets: AssetGraph,
        clock: Clock,
        wake_engine: Callable[[], None],
        wake_reconciler: Callable[[], None],
    ) -> None:
        self._store = store
        self._assets = assets
        self._clock = clock
        self._wake_engine = wake_engine
        self._wake_reconciler = wake_reconciler
        self._listener: CommitListener | None = None
        self._unowned: tuple[object, ...] | None = None
        self._stopped = False
        self._loss = ReportOnce(
            logger,
            "cannot listen for commits of other processes: looking once a second",
            "listening for commits of other processes again",
            logging.WARNING,
        )
        self._loop = PeriodicThread("wake_up", self._step, clock)

    def start(self) -> None:
        """Start the thread."""
        self._loop.start()

    def stop(self) -> None:
        """Stop the thread, and close its connection."""
        self._stopped = True
        listener = self._listener
        if listener is not None:
            listener.interrupt()
        self._loop.stop()
        if not self._loop.alive:
            self._close()

    def _step(self) -> float | None:
        try:
            if self._listener is None:
                self._listener = self._store.listen(self._assets)
                if self._listener is None:
                    return None  # no other process has this store
                self._loss.end()
                heard = True  # perhaps, while there was no listener
            else:
                heard = self._listener.wait(WAIT_SECONDS)
            if heard and not self._stopped:
                self._look(self._listener)
            if self._stopped:  # `stop` does not wait for ever
                self._close()
        except StoreError as error:
            self._close()
            self._loss.begin(error=describe(error))
            return store_retry_seconds(self._loss.times)
        except BaseException:
            self._close()
            raise
        return 0.0

    def _look(self, listener: CommitListener) -> None:
        found = listener.look(self._clock.now())
        if found.due:
            self._wake_engine()
        if found.unowned != self._unowned:
            self._unowned = found.unowned
            self._wake_reconciler()

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
