"""Listener: a PostgreSQL connection that listens to channels, reopened when it is lost."""

from __future__ import annotations

import selectors
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowstone_core import PollContext
from flowstone_db.config import DatabaseConfig
from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# One round trip: notifications sent before it have arrived when it returns.
_CHANNELS = "SELECT pg_listening_channels()"
_POOLER = (
    "connect to PostgreSQL directly, or through a pooler that dedicates a connection to each "
    "client (PgBouncer: pool_mode = session)"
)

PROBE_SECONDS = 5.0
"""Seconds that a notification may take through a pooler."""

ANSWER_SECONDS = 1.0
"""Seconds before the poll's deadline at which a wait ends."""


class Listener:
    """Listener that delivers the notifications of its channels.

    The connection is in autocommit mode: the server sends notifications only outside of a
    transaction, and LISTEN takes effect when its transaction is committed.

    Args:
        config: The settings of the connection.
        channels: The names of the channels, unquoted.
        context: See `ReadOnlyDatabase`.
        deliver: Called with the channel and the payload of each notification, in order.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        channels: Sequence[str],
        context: PollContext,
        deliver: Callable[[str, str], None],
    ) -> None:
        self._database = ReadOnlyDatabase(config, context)
        self._other = ReadOnlyDatabase(config, context)
        self._context = context
        self._channels = channels
        self._deliver = deliver
        self._raw: Any = None

    def receive(self, wait_seconds: Callable[[], float]) -> bool:
        """Deliver the notifications that have arrived.

        Args:
            wait_seconds: Returns the seconds to wait for a further notification; called after all
                notifications were delivered, and not on a new connection.

        Returns:
            True if a connection was opened: earlier notifications are then lost.

        Raises:
            DatabaseError: If no connection can listen.
        """
        with self._database.connection() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)
            raw: Any = connection.connection.driver_connection
            made = raw is not self._raw
            if made:
                self._listen(connection, raw)
            self._check(connection)
            seconds = 0.0 if made else wait_seconds()
            if seconds > 0:
                self._wait_until_readable(raw, seconds)
                self._check(connection)
        return made

    def close(self) -> None:
        """Close the connection, and stop listening."""
        self._database.close()

    def _listen(self, connection: Connection, raw: Any) -> None:
        from psycopg.sql import Identifier

        if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar():
            raise DatabaseError(
                f"cannot LISTEN on a replica: {self._database.url}",
                hint="connect to the primary",
            )
        if connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() != raw.info.backend_pid:
            self._prove(connection, raw)
        raw.add_notify_handler(
            lambda notification: self._deliver(notification.channel, notification.payload)
        )
        for channel in self._channels:
            connection.exec_driver_sql(f"LISTEN {Identifier(channel).as_string(raw)}")
        self._raw = raw

    def _prove(self, connection: Connection, raw: Any) -> None:
        """Notify this idle connection from another one, through the pooler between.

        Most poolers accept LISTEN, and silently drop notifications to an idle connection.
        """
        probe = f"flowstone_{uuid.uuid4().hex}"
        received: list[str] = []

        def on_probe(notification: Any) -> None:
            received.append(notification.channel)

        raw.add_notify_handler(on_probe)
        connection.exec_driver_sql(f"LISTEN {probe}")
        with self._other.connection() as other:
            other.execution_options(isolation_level="AUTOCOMMIT")
            other.exec_driver_sql(f"NOTIFY {probe}")
        self._other.close()
        self._wait_until_readable(raw, PROBE_SECONDS)
        connection.exec_driver_sql(f"UNLISTEN {probe}")
        raw.remove_notify_handler(on_probe)
        if not received:
            connection.invalidate()
            raise DatabaseError(
                f"a connection pooler drops notifications: {self._database.url}",
                hint=_POOLER,
            )

    def _check(self, connection: Connection) -> None:
        channels = connection.exec_driver_sql(_CHANNELS).scalars()
        if not set(self._channels) <= set(channels):
            connection.invalidate()
            raise DatabaseError(
                "the connection no longer listens; a connection pooler may have given it to "
                f"another client: {self._database.url}",
                hint=_POOLER,
            )

    def _wait_until_readable(self, raw: Any, seconds: float) -> None:
        # What has arrived until then is delivered, if the poll ends within its deadline.
        left = self._context.seconds_left() - ANSWER_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(raw.fileno(), selectors.EVENT_READ)
            selector.select(max(0.0, min(seconds, left)))
