"""Wake-up: tells the runners of other processes at once that something was committed.

PostgreSQL passes it on with NOTIFY, which a process sends after its commit: in the transaction it
would make all commits wait for one lock. SQLite passes nothing on: there a runner compares the
number that SQLite increments with each commit of another connection.

A wake-up may be lost, with its connection or in a connection pooler. So a runner also looks once a
second, and a wake-up has no content: a look finds what there is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from socket import socketpair
from typing import TypeAlias

from sqlalchemy import Dialect, Select, Subquery, Table, bindparam, case, exists, func, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import SystemClock
from flowstone_core.store import schema
from flowstone_core.store.column_types import UtcDateTime
from flowstone_core.store.enqueueing import of_assets

_rows = schema.materializations

UNOWNED_LIMIT = 100
"""Sensors, and schedules, without an owner that one look reads: the cost of a look is bounded."""

BURST = 10
"""Notifications that a process may send at once."""

NOTIFY_SECONDS = 0.1
"""Time in which it may send another one."""

Values: TypeAlias = tuple[object, ...]

Parameters: TypeAlias = Mapping[str, object] | Sequence[object]

Fetch: TypeAlias = Callable[[str, Parameters], Values]
"""Runs a query with its parameters, and returns its only row."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings of one look at the store.

    Attributes:
        due: True if a materialization of the runner's assets may start.
        unowned: Numbers that change with the sensors and schedules without an owner.
    """

    due: bool
    unowned: Values


class CommitListener(ABC):
    """Connection to the store that notices commits of other connections; for one thread.

    Its connection lasts as long as the listener.
    """

    def __init__(self) -> None:
        self._alarm, self._alarmed = socketpair()
        self._alarm.settimeout(0)

    @abstractmethod
    def listen(self) -> None:
        """Begin to notice commits; called once.

        Raises:
            StoreError: As for `wait`.
        """

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait until another connection has committed something.

        Args:
            seconds: Longest wait.

        Returns:
            False if the time passed first, or `interrupt` was called.

        Raises:
            StoreError: If the connection is lost, or the store cannot be read.
        """

    @abstractmethod
    def look(self, now: datetime) -> Findings:
        """Look for what may be done now; one query.

        Raises:
            StoreError: As for `wait`.
        """

    def interrupt(self) -> None:
        """End the present `wait`, or the next one; any thread."""
        with suppress(OSError):  # full, so that the wait ends anyway; or closed
            self._alarm.send(b"!")

    def close(self) -> None:
        """Close the connection."""
        self._alarm.close()
        self._alarmed.close()


class Allowance:
    """Allowance of notifications: a few at once, then ten a second; not thread-safe."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._left = float(BURST)
        self._counted_at = self._clock.monotonic()

    def take(self) -> float:
        """Use up one; return 0, or the seconds until there is one, and use up none."""
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._counted_at) / NOTIFY_SECONDS, float(BURST))
        self._counted_at = now
        if self._left < 1:
            return (1 - self._left) * NOTIFY_SECONDS
        self._left -= 1
        return 0.0


class Look:
    """Query of a `CommitListener`, compiled once: it runs after each wake-up.

    Args:
        dialect: The database's dialect.
        assets: The assets whose materializations the runner may start.
    """

    def __init__(self, dialect: Dialect, assets: AssetGraph) -> None:
        compiled = _query(assets).compile(
            dialect=dialect, compile_kwargs={"render_postcompile": True}
        )
        self._dialect = dialect
        self._text = str(compiled)
        self._names = compiled.positiontup
        self._parameters = dict(compiled.params)

    def run(self, fetch: Fetch, now: datetime) -> Findings:
        """Look; `CommitListener.look` documents it."""
        instant = UtcDateTime().bind_processor(self._dialect)(now)
        named = {**self._parameters, "now": instant}
        # The driver of SQLite takes parameters by position, the one of PostgreSQL by name.
        given: Parameters = named if self._names is None else [named[name] for name in self._names]
        due, *unowned = fetch(self._text, given)
        return Findings(bool(due), tuple(unowned))


def _query(assets: AssetGraph) -> Select[*tuple[object, ...]]:
    due = exists().where(
        schema.CLAIMABLE,
        _rows.c.available_at <= bindparam("now", None, UtcDateTime()),
        of_assets(assets),
    )
    return select(due, _unowned(schema.sensors), _unowned(schema.schedules))


def _unowned(owned: Table) -> Subquery:
    paused = case((owned.c.paused, 1), else_=0).label("paused")
    few = select(owned.c.version, paused).where(owned.c.owner.is_(None)).limit(UNOWNED_LIMIT)
    first = few.subquery()
    counted = (func.count(), func.sum(first.c.version), func.sum(first.c.paused))
    return select(*counted).select_from(first).subquery()
