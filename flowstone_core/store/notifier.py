"""Notifier: sends the wake-ups of a process, and opens its listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.store.postgresql_listener import NOTIFY, NOTIFY_SECONDS, PostgresqlListener
from flowstone_core.store.sqlite_listener import SqliteListener
from flowstone_core.store.wake_up import CommitListener, Look

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger("flowstone.store")

BURST = 10
"""Notifications that a process without a listener may send at once."""


class Notifier:
    """Notifier of the runners of other processes, for one database; any thread.

    The listener of a process sends its notifications, too. A process without one, such as a
    command, sends them from the thread that committed.

    Args:
        engine: The database's connections.
        display: The store's URL for errors, with its password masked.
    """

    def __init__(self, engine: Engine, display: str) -> None:
        self._engine = engine
        self._display = display
        self._sends = engine.dialect.name == "postgresql"
        self._listener: PostgresqlListener | None = None
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._left = float(BURST)
        self._counted_at = self._clock.monotonic()
        self._failure = ReportOnce(
            logger, "cannot notify other runners: they find what was committed within a second"
        )

    def notify(self) -> None:
        """Notify the runners of other processes; never raises."""
        if not self._sends:
            return
        listener = self._listener
        if listener is not None and not listener.closed:
            listener.notify()
        elif self._may_send():
            self._send()

    def listen(
        self, assets: AssetGraph, errors: Callable[[], AbstractContextManager[None]]
    ) -> CommitListener:
        """Open a listener; see `Database.listen`.

        Args:
            errors: Raises the driver's errors as those of the store.
        """
        query = Look(self._engine.dialect, assets)
        connection = self._engine.connect()
        listener = (
            self._postgresql_listener(connection, query)
            if self._sends
            else SqliteListener(connection, query, errors)
        )
        try:
            listener.listen()
        except BaseException:
            listener.close()
            raise
        return listener

    def _postgresql_listener(self, connection: Connection, query: Look) -> PostgresqlListener:
        driver = cast("psycopg.Connection", connection.connection.driver_connection)
        connection.detach()
        self._listener = PostgresqlListener(driver, query, self._display)
        return self._listener

    def _may_send(self) -> bool:
        with self._lock:
            now = self._clock.monotonic()
            gained = (now - self._counted_at) / NOTIFY_SECONDS
            self._left = min(self._left + gained, float(BURST))
            self._counted_at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def _send(self) -> None:
        from psycopg import Error

        try:
            connection = self._engine.raw_connection()
            try:
                cast("psycopg.Connection", connection.driver_connection).execute(NOTIFY)
            finally:
                connection.close()
        except (SQLAlchemyError, Error) as error:
            self._failure.begin(error=describe(error))
        else:
            self._failure.end()
