"""Watermark: a bound below which no open transaction can still commit a row.

A row's id or timestamp is chosen when it is written, but the row becomes visible when it is
committed, possibly in another order. So a bound is used only after every transaction that was open
when the bound was read has ended.

PostgreSQL's locks list the open transactions: each, from its begin, holds a lock on its virtual id.
(A snapshot, or a row's ``xmin``, covers only transactions that have already written, in the order
of their first write, which is yet another one.) Transaction ids are not compared, so wraparound
does not matter. A transaction prepared for two-phase commit no longer has a virtual id; it is
identified by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from pydantic import JsonValue

# Of this database only, since others cannot write to it; autovacuum and the like have no user.
RUNNING = """
SELECT held.virtualtransaction::text
FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'virtualxid' AND held.mode = 'ExclusiveLock'
  AND session.datname = current_database() AND session.usesysid IS NOT NULL
  AND held.pid <> pg_backend_pid()
"""
"""Query for running transactions, after the bound was read: a transaction that can commit a row
below the bound is either among these, or has ended, and the next read sees its rows."""

PREPARED = """
SELECT gid || ' ' || prepared FROM pg_prepared_xacts WHERE database = current_database()
"""
"""Query for prepared transactions, after the running ones: a transaction that is prepared in
between is among one of the two."""


class Watermark(TypedDict):
    """A bound that waits for transactions to end.

    Attributes:
        bound: The encoded bound.
        running: The virtual ids of running transactions that must end first.
        prepared: The names of prepared transactions that must end first.
    """

    bound: JsonValue
    running: list[str]
    prepared: list[str]


@dataclass(frozen=True, slots=True)
class OpenTransactions:
    """The open transactions: the results of `RUNNING` and `PREPARED`."""

    running: frozenset[str]
    prepared: frozenset[str]

    def settle(
        self, bound: JsonValue, watermark: Watermark | None
    ) -> tuple[JsonValue | None, Watermark | None]:
        """Return the bound that may be used, and the next watermark.

        Args:
            bound: The bound, read before the open transactions.
            watermark: The bound that was waiting.

        Returns:
            The bound that may be used, or None without a new one; and the next watermark.
        """
        if not self.running and not self.prepared:
            return bound, None
        new = _watermark(bound, self.running, self.prepared)
        if watermark is None:
            return None, new
        running = self.running.intersection(watermark["running"])
        prepared = self.prepared.intersection(watermark["prepared"])
        if len(running) < len(watermark["running"]):
            # A transaction that is no longer running may be prepared now.
            prepared = self.prepared
        if not running and not prepared:
            return watermark["bound"], new
        # Keep the bound: under a steady load a newer one would never become usable.
        return None, _watermark(watermark["bound"], running, prepared)


def _watermark(bound: JsonValue, running: Iterable[str], prepared: Iterable[str]) -> Watermark:
    return Watermark(bound=bound, running=sorted(running), prepared=sorted(prepared))
