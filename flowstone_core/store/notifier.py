"""Notifier: sends the wake-ups of a process, and opens its listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.store.postgresql_listener import NOTIFY, PostgresqlListener
from flowstone_core.store.sqlite_listener import SqliteListener
from flowstone_core.store.wake_up import Allowance, CommitListener, Look
from flowstone_core.store.write_turn import WriteTurn

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger("flowstone.store")


class Notifier:
    """Notifier of the runners of other processes, for one database; any thread.

    The listener of a process sends its notifications, too. A process without one, such as a
    command, sends them from the thread that committed, or soon after it if they are many.

    Args:
        engine: The database's connections.
        display: The store's URL for errors, with its password masked.
    """

    def __init__(self, engine: Engine, display: str) -> None:
        self._engine = engine
        self._display = display
        self._sends = engine.dialect.name == "postgresql"
        self._listener: PostgresqlListener | None = None
        self._lock = threading.Lock()
        self._allowance = Allowance()
        self._timer: threading.Timer | None = None
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
        else:
            self._send_or_owe()

    def listen(
        self,
        assets: AssetGraph,
        errors: Callable[[], AbstractContextManager[None]],
        turn: WriteTurn,
        file: Path | None,
    ) -> CommitListener:
        """Open a listener; see `Database.listen`.

        Args:
            errors: Raises the driver's errors as those of the store.
            turn: The turns of this process to write.
            file: The SQLite file.
        """
        query = Look(self._engine.dialect, assets)
        connection = self._engine.connect()
        listener = (
            self._postgresql_listener(connection, query)
            if self._sends
            else SqliteListener(connection, query, errors, turn, f"{file}-wal")
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

    def close(self) -> None:
        """Send what is owed, at once."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._send()

    def _send_or_owe(self) -> None:
        with self._lock:
            if self._timer is not None:
                return
            left = self._allowance.take()
            if left:
                self._timer = threading.Timer(left, self._send_owed)
                self._timer.daemon = True
                self._timer.start()
                return
        self._send()

    def _send_owed(self) -> None:
        with self._lock:
            self._timer = None
            self._allowance.take()
        self._send()

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
