"""Listener on PostgreSQL: LISTEN and NOTIFY in a separate connection."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.store.postgresql_errors import diagnose
from flowstone_core.store.wake_up import (
    Allowance,
    CommitListener,
    Findings,
    Look,
    Parameters,
    Values,
)

if TYPE_CHECKING:
    import psycopg

CHANNEL = "'flowstone_' || md5(coalesce(current_schema(), ''))"
"""The channel of a store, as an expression: several stores may share a database, each in a schema.
The name of a channel is at most 63 bytes long, as that of a schema."""

NOTIFY = f"BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify({CHANNEL}, ''); COMMIT"
"""Notifies all listeners, in one round trip. The commit waits for no disk: meanwhile it holds the
lock of the queue of notifications."""


class PostgresqlListener(CommitListener):
    """Listener on PostgreSQL; it also sends the notifications of its process.

    So the server names the sender of each notification that is received, and those of this process
    wake nothing.

    Args:
        connection: A connection outside of the pool; closed with the listener.
        query: The look.
        display: The store's URL for errors, with its password masked.
    """

    def __init__(self, connection: psycopg.Connection, query: Look, display: str) -> None:
        super().__init__()
        self._connection = connection
        self._query = query
        self._display = display
        self._allowance = Allowance()
        self._owed = False
        self._heard = False
        self._pid = 0

    @property
    def closed(self) -> bool:
        """True once the connection is closed."""
        return self._connection.closed

    def listen(self) -> None:
        """See `CommitListener.listen`."""
        with self._errors():
            self._pid = self._connection.info.backend_pid
            # Those that arrive while another statement runs come this way.
            self._connection.add_notify_handler(lambda sent: self._note(sent.pid))
            (channel,) = self._fetch(f"SELECT {CHANNEL}", ())
            self._connection.execute(f'LISTEN "{channel}"'.encode())

    def notify(self) -> None:
        """Have the thread that waits notify the other listeners; any thread, returns at once."""
        self._owed = True
        self.interrupt()

    def wait(self, seconds: float) -> bool:
        """See `CommitListener.wait`; sends what `notify` asked for, too."""
        with self._errors():
            if self._owed:
                left = self._allowance.take()
                if left:
                    seconds = min(seconds, left)
                else:
                    self._owed = False
                    self._connection.execute(NOTIFY)
            self._receive()
            if not self._heard:
                sent, alarmed = self._connection.fileno(), self._alarmed.fileno()
                readable, _, _ = select.select([sent, alarmed], [], [], seconds)
                if alarmed in readable:
                    self._alarmed.recv(4096)
                if sent in readable:
                    self._connection.pgconn.consume_input()
                    self._receive()
        heard, self._heard = self._heard, False
        return heard

    def look(self, now: datetime) -> Findings:
        """See `CommitListener.look`."""
        with self._errors():
            return self._query.run(self._fetch, now)

    def close(self) -> None:
        """See `CommitListener.close`."""
        super().close()
        self._connection.close()

    def _receive(self) -> None:
        while sent := self._connection.pgconn.notifies():
            self._note(sent.be_pid)

    def _note(self, sender: int) -> None:
        self._heard |= sender != self._pid

    def _fetch(self, text: str, parameters: Parameters) -> Values:
        row = self._connection.execute(text.encode(), parameters).fetchone()
        assert row is not None  # noqa: S101 - each of the queries has one row
        return row

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            text = f"the store {self._display}: {diagnose(error, lost=True).text}"
            raise StoreUnavailableError(text, hint="wake-ups begin again by themselves") from None
