"""Listener on SQLite: compares the number that changes with each commit of another connection.

Where the system tells of writes to a file (inotify), it compares after a write to the log;
elsewhere a hundred times a second.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from socket import socket

from sqlalchemy import Connection

from flowstone_core.store.file_watch import FileWatch
from flowstone_core.store.wake_up import CommitListener, Findings, Look, Parameters, Values
from flowstone_core.store.write_turn import WriteTurn

PERIOD = 0.01
"""Seconds between two comparisons where the log cannot be watched.

Measured on a virtual machine: a comparison takes 2 microseconds, and so does `os.stat` of the log,
but to wake a thread for it takes 40 to 70. So 100 a second cost 0.7 % of a core, 200 cost 1.2 %.
`os.stat` would also miss commits: the log keeps its size when it is written again from its start.
"""

SHORTEST = 0.001
"""Seconds until the first comparison after the log was written: the commit shows after its sync."""

GROWTH = 1.25
"""Factor from one wait to the next, while nothing shows."""

LONGEST = 1.0
"""Seconds between two comparisons while the log is watched and nobody writes to it."""


class SqliteListener(CommitListener):
    """Listener on SQLite: `PRAGMA data_version` of one connection.

    The number changes with the commits of other connections of this process, too. What these make
    available has been begun by the next comparison, so a change that may be theirs waits for it.

    Args:
        connection: A connection that nothing else uses; given back to the pool at the end.
        query: The look.
        errors: Raises the driver's errors as those of the store.
        turn: The turns of this process to write.
        log: The path of the log.
    """

    def __init__(
        self,
        connection: Connection,
        query: Look,
        errors: Callable[[], AbstractContextManager[None]],
        turn: WriteTurn,
        log: str,
    ) -> None:
        super().__init__()
        self._watch = FileWatch.open(log)
        self._period = PERIOD if self._watch is None else SHORTEST
        self._errors = errors
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._query = query
        self._turn = turn
        self._turns = turn.count
        self._version = 0

    def listen(self) -> None:
        """See `CommitListener.listen`."""
        with self._errors():
            self._version = self._read_version()

    def wait(self, seconds: float) -> bool:
        """See `CommitListener.wait`."""
        with self._errors():
            postponed = False
            while seconds > 0:
                if self._watch is not None:
                    self._watch.clear()
                version, turns = self._read_version(), self._turn.count
                changed = version != self._version
                if changed and (postponed or not self._turn.taken_since(self._turns)):
                    self._version, self._turns = version, turns
                    return True
                if changed:
                    postponed = True
                else:
                    self._turns = turns
                period = min(seconds, PERIOD if postponed else self._period)
                # A log that was just written to is compared again soon, however much is written.
                if self._sleep(period, watch=period >= PERIOD and not postponed):
                    return False
                seconds -= period
        return False

    def _sleep(self, period: float, *, watch: bool) -> bool:
        """Wait for a period, or until the log is written to; return True if interrupted.

        Args:
            watch: End with a write to the log.
        """
        sources: list[socket | FileWatch] = [self._alarmed]
        if watch and self._watch is not None:
            sources.append(self._watch)
        readable, _, _ = select.select(sources, [], [], period)
        if self._watch in readable:
            self._period = SHORTEST
        elif self._watch is not None:
            self._period = min(self._period * GROWTH, LONGEST)
        if self._alarmed in readable:
            self._alarmed.recv(4096)
            return True
        return False

    def look(self, now: datetime) -> Findings:
        """See `CommitListener.look`."""
        with self._errors():
            return self._query.run(self._fetch, now)

    def close(self) -> None:
        """See `CommitListener.close`."""
        super().close()
        if self._watch is not None:
            self._watch.close()
        self._cursor.close()
        self._connection.close()

    def _fetch(self, text: str, parameters: Parameters) -> Values:
        (row,) = self._cursor.execute(text, parameters).fetchall()
        return tuple(row)

    def _read_version(self) -> int:
        ((version,),) = self._cursor.execute("PRAGMA data_version").fetchall()
        return int(version)
