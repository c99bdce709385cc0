"""Materialization queue: the claims and attempts of engines, as transactions of the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import AttemptEnd, ClaimRound, EndRound
from flowstone_core.model.materialization import Claim, Materialization
from flowstone_core.store import attempt_recovery, attempts, claims, enqueueing, schema
from flowstone_core.store.claims import take_back
from flowstone_core.store.database import Database
from flowstone_core.store.enqueueing import ACTIVE, of_assets

_rows = schema.materializations


class EngineQueue:
    """The store's `MaterializationQueue`, which documents the methods.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, runner_id: str, limit: int, assets: AssetGraph, now: datetime, ahead: int = 0
    ) -> ClaimRound:
        """See `MaterializationQueue.claim`."""
        return self._database.write(claims.claim, runner_id, limit, assets, now, ahead)

    def finish(self, ends: Sequence[AttemptEnd], assets: AssetGraph, now: datetime) -> EndRound:
        """See `MaterializationQueue.finish`."""
        written = self._database.write(attempts.finish, ends, assets, now)
        if len(written.changed) + len(written.stale) > len(ends):
            self._database.notify()  # followers, which another process may start
        return written

    def release(self, claims: Collection[Claim], now: datetime) -> None:
        """See `MaterializationQueue.release`."""
        self._database.write_and_notify(attempts.release, claims, now)

    def take_back(self, claims: Collection[Claim], now: datetime) -> None:
        """See `MaterializationQueue.take_back`."""
        self._database.write_and_notify(take_back, claims, now)

    def recover(
        self, now: datetime, runner_id: str | None = None, held: Collection[str] = ()
    ) -> Sequence[Materialization]:
        """See `MaterializationQueue.recover`."""
        changed = self._database.write(attempt_recovery.recover, now, runner_id, held)
        if changed:
            self._database.notify()
        return changed

    def requeue_waiting(self, assets: AssetGraph, now: datetime) -> None:
        """See `MaterializationQueue.requeue_waiting`."""
        self._database.write(enqueueing.requeue_all, assets, now)

    def stale_tokens(self, tokens: Collection[str]) -> set[str]:
        """See `MaterializationQueue.stale_tokens`."""
        return self._database.read(attempts.stale_tokens, tokens)

    def unfinished(self, assets: AssetGraph, before: datetime | None = None) -> int:
        """See `MaterializationQueue.unfinished`."""
        return self._database.read(_unfinished, assets, before)


def _unfinished(connection: Connection, assets: AssetGraph, before: datetime | None) -> int:
    query = (
        select(func.count()).select_from(_rows).where(_rows.c.state.in_(ACTIVE), of_assets(assets))
    )
    if before is not None:
        query = query.where(or_(_rows.c.available_at.is_(None), _rows.c.available_at <= before))
    return connection.scalar(query) or 0
