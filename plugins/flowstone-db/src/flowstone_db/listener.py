"""A connection to PostgreSQL that listens to channels; it is remade when it is lost."""

from __future__ import annotations

import selectors
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowstone_db.config import DatabaseConfig
from flowstone_db.database import Database
from flowstone_db.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# One round trip: what was sent before it is there when it is answered.
_CHANNELS = "SELECT pg_listening_channels()"
_POOLER = (
    "connect to PostgreSQL itself, or through a pooler that gives each client a connection of its "
    "own (PgBouncer: pool_mode = session)"
)

PATIENCE = 5.0
"""Seconds that a notification may take through a pooler."""


class Listener:
    """Listens, and delivers what it hears.

    The connection is in no transaction, so that the server may send: none that only reads would
    do, as LISTEN takes effect when its transaction is committed.

    Args:
        config: Which database.
        channels: Their names as they are; in SQL they are quoted.
        monotonic: See `Database`.
        deliver: Called with the channel and the payload of each notification, in order.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        channels: Sequence[str],
        monotonic: Callable[[], float],
        deliver: Callable[[str, str], None],
    ) -> None:
        self._database = Database(config, monotonic)
        self._other = Database(config, monotonic)
        self._channels = channels
        self._deliver = deliver
        self._raw: Any = None

    def hear(self, patience: Callable[[], float]) -> bool:
        """Deliver what was sent.

        Args:
            patience: Asked when all that is there was delivered, and not on a new connection:
                for how many seconds to wait for more. Whatever comes first ends it.

        Returns:
            Whether a connection had to be made: what was sent before it is not heard.

        Raises:
            DatabaseError: If there is no connection that listens.
        """
        with self._database.lending() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)
            raw: Any = connection.connection.driver_connection
            made = raw is not self._raw
            if made:
                self._listen(connection, raw)
            self._check(connection)
            seconds = 0.0 if made else patience()
            if seconds > 0:
                _wait_until_readable(raw.fileno(), seconds)
                self._check(connection)
        return made

    def close(self) -> None:
        """Close the connection, and listen no more."""
        self._database.close()

    def _listen(self, connection: Connection, raw: Any) -> None:
        from psycopg.sql import Identifier

        if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar():
            raise DatabaseError(
                f"the server is a replica, where nobody can listen: {self._database.address}",
                hint="connect to the primary",
            )
        if connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() != raw.info.backend_pid:
            self._prove(connection, raw)
        raw.add_notify_handler(lambda notice: self._deliver(notice.channel, notice.payload))
        for channel in self._channels:
            connection.exec_driver_sql(f"LISTEN {Identifier(channel).as_string(raw)}")
        self._raw = raw

    def _prove(self, connection: Connection, raw: Any) -> None:
        """Have another connection notify this one, which is at rest, through the pooler between.

        Most poolers take LISTEN, and drop in silence what is sent to a connection at rest.
        """
        probe = f"flowstone_{uuid.uuid4().hex}"
        heard: list[str] = []

        def hear(notice: Any) -> None:
            heard.append(notice.channel)

        raw.add_notify_handler(hear)
        connection.exec_driver_sql(f"LISTEN {probe}")
        with self._other.lending() as other:
            other.execution_options(isolation_level="AUTOCOMMIT")
            other.exec_driver_sql(f"NOTIFY {probe}")
        self._other.close()
        _wait_until_readable(raw.fileno(), PATIENCE)
        connection.exec_driver_sql(f"UNLISTEN {probe}")
        raw.remove_notify_handler(hear)
        if not heard:
            connection.invalidate()
            raise DatabaseError(
                f"a pooler stands between that drops notifications: {self._database.address}",
                hint=_POOLER,
            )

    def _check(self, connection: Connection) -> None:
        channels = connection.exec_driver_sql(_CHANNELS).scalars()
        if not set(self._channels) <= set(channels):
            connection.invalidate()
            raise DatabaseError(
                "the connection does not listen any more, as behind a pooler that gives it to "
                f"others between transactions: {self._database.address}",
                hint=_POOLER,
            )


def _wait_until_readable(descriptor: int, seconds: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        selector.select(seconds)
