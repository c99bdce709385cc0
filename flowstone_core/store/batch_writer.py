"""Batch writer: transactions that delete as many rows as a short time allows.

A batch holds locks that a commit may wait for: on SQLite the only one there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from flowstone_core.model.clock import Clock
from flowstone_core.store.database import Database

P = ParamSpec("P")
R = TypeVar("R")

LEAST = 100
"""The least rows of a batch, and those of the first one: what takes long with so few is not the
rows, but the machine."""

HOLD_SECONDS = 0.02
"""Seconds that a transaction should take: a commit waits for less than 0.05."""


class BatchWriter:
    """Calls functions in transactions, and sizes each batch by the time of the one before.

    Args:
        database: The store's database.
        clock: Measures the transactions.
        most: The most rows of a batch.

    Attributes:
        room: The rows of the next batch.
    """

    def __init__(self, database: Database, clock: Clock, most: int) -> None:
        self._database = database
        self._clock = clock
        self._most = most
        self.room = min(LEAST, most)

    def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function in one transaction; see `Database.write`."""
        begun = 0.0

        def measured(connection: Connection) -> R:
            nonlocal begun
            begun = self._clock.monotonic()  # only now are the locks held
            return function(connection, *args, **kwargs)

        result = self._database.write(measured)
        took = self._clock.monotonic() - begun
        if took > HOLD_SECONDS:
            self.room = max(self.room // 2, min(LEAST, self._most))
        elif took < HOLD_SECONDS / 2:
            self.room = min(self.room * 2, self._most)
        return result
