"""Up to where rows may be read: no transaction that is still open can put one before it.

A row's id or timestamp is chosen when it is written, and others see it when it is committed, which
may be in another order. So a bound that was seen is relied on only once every transaction that was
open when it was seen has ended.

Which these are, PostgreSQL's locks tell: every transaction, also one that has only begun, holds one
on its virtual id. (A snapshot, or a row's ``xmin``, tells only of those that have written already,
and is in the order in which transactions began to write, which is yet another one.) No transaction
ids are compared, so none can wrap around. What is prepared for a commit in two phases has no
virtual id any more; it is told by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from pydantic import JsonValue

# Of this database, as others cannot write to it; autovacuum and the like have no user.
RUNNING = """
SELECT held.virtualtransaction::text
FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'virtualxid' AND held.mode = 'ExclusiveLock'
  AND session.datname = current_database() AND session.usesysid IS NOT NULL
  AND held.pid <> pg_backend_pid()
"""
"""Asked for after the bound was read: what could put a row before it is either among these, or
has ended, and what is read next sees its rows."""

PREPARED = """
SELECT gid || ' ' || prepared FROM pg_prepared_xacts WHERE database = current_database()
"""
"""Asked for after the running ones: what is prepared in between is among one of the two."""


class Fence(TypedDict):
    """A bound that waits for transactions to end.

    Attributes:
        bound: As it is stored.
        running: The virtual ids of transactions that must have ended.
        prepared: Those that are prepared, and must have ended too.
    """

    bound: JsonValue
    running: list[str]
    prepared: list[str]


@dataclass(frozen=True, slots=True)
class OpenTransactions:
    """What is open now: what `RUNNING` and `PREPARED` return."""

    running: frozenset[str]
    prepared: frozenset[str]

    def settle(
        self, bound: JsonValue, fence: Fence | None
    ) -> tuple[JsonValue | None, Fence | None]:
        """Decide how far may be read.

        Args:
            bound: What was seen before this was.
            fence: The bound that was waiting.

        Returns:
            The bound that can be relied on, or None for none that is new; and what waits next.
        """
        if not self.running and not self.prepared:
            return bound, None
        new = _fence(bound, self.running, self.prepared)
        if fence is None:
            return None, new
        running = self.running.intersection(fence["running"])
        prepared = self.prepared.intersection(fence["prepared"])
        if len(running) < len(fence["running"]):
            # One that runs no more may be among these now.
            prepared = self.prepared
        if not running and not prepared:
            return fence["bound"], new
        # The bound stays, or under a steady load none would ever be relied on.
        return None, _fence(fence["bound"], running, prepared)


def _fence(bound: JsonValue, running: Iterable[str], prepared: Iterable[str]) -> Fence:
    return Fence(bound=bound, running=sorted(running), prepared=sorted(prepared))
