"""Claims: start the materializations that are due and ready, and hold back the others."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import ClaimRound
from flowstone_core.model.materialization import (
    Claim,
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.store import events, overlap_queue, schema
from flowstone_core.store.dependencies import Readiness, check_readiness
from flowstone_core.store.enqueueing import (
    ACTIVE,
    SLOT,
    enqueue,
    materialization_of,
    of_assets,
    requeue,
)
from flowstone_core.store.statements import among

_rows = schema.materializations

CANDIDATE_LIMIT = 1_000
"""Candidates examined in one transaction: most are claimed, but all of them may have to wait."""


def claim(
    connection: Connection, runner_id: str, limit: int, assets: AssetGraph, now: datetime
) -> ClaimRound:
    """Start ready materializations; enqueue missing dependencies, and discard those that failed.

    See `MaterializationQueue.claim`.
    """
    claims: list[Claim] = []
    changed: list[Materialization] = []
    examined = 0
    while len(claims) < limit and examined < CANDIDATE_LIMIT:
        candidates = _candidates(connection, limit - len(claims), assets, now)
        if not candidates:
            return ClaimRound(tuple(claims), tuple(changed), _next_at(connection, assets, now))
        examined += len(candidates)
        checked = check_readiness(connection, candidates, assets)
        ready = [item for item in checked if item.error is None and not item.must_wait]
        claims += _start(connection, ready, runner_id, now)
        for item in checked:
            if item.must_wait:
                changed += _hold(connection, item, assets, now)
        # Last, because each requeues what waits for it, perhaps some of these.
        for item in checked:
            if item.error is not None:
                changed.append(_discard(connection, item, assets, now))
    # More may be due: a caller with free threads claims again at once.
    next_at = _next_at(connection, assets, now) if len(claims) >= limit else now
    return ClaimRound(tuple(claims), tuple(changed), next_at)


def _candidates(
    connection: Connection, limit: int, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    query = (
        select(_rows)
        .where(schema.CLAIMABLE, _rows.c.available_at <= now, of_assets(assets))
        .order_by(_rows.c.available_at, _rows.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [materialization_of(row) for row in connection.execute(query)]


def _next_at(connection: Connection, assets: AssetGraph, now: datetime) -> datetime | None:
    query = select(func.min(_rows.c.available_at)).where(
        schema.CLAIMABLE, _rows.c.available_at > now, of_assets(assets)
    )
    earliest: datetime | None = connection.scalar(query)
    return earliest


def _hold(
    connection: Connection, item: Readiness, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Hold a candidate back until the materializations it waits for have ended."""
    numbers, created = enqueue(connection, item.missing, assets, now)
    if _overtaken(connection, created):
        # The candidate stays in the queue, and is examined again.
        numbers_created = [item.id for item in created]
        connection.execute(delete(_rows).where(_rows.c.id.in_(numbers_created)))
        return []
    waits_for = item.waits_for + [f"{name} #{number}" for (name, _), number in numbers.items()]
    connection.execute(
        update(_rows)
        .where(_rows.c.id == item.candidate.id)
        .values(available_at=None, waiting_for=", ".join(waits_for))
    )
    return created


def _overtaken(connection: Connection, created: Sequence[Materialization]) -> bool:
    """Return True if a concurrent transaction enqueued or completed one of the created slots.

    On PostgreSQL that is possible between the check and the insert, and no longer after it.
    """
    if not created:
        return False
    slots = [(item.asset, item.partition) for item in created]
    query = select(_rows.c.id).where(
        _rows.c.state.in_([*ACTIVE, MaterializationState.COMPLETED]),
        _rows.c.id.not_in([item.id for item in created]),
    )
    return connection.scalar(among(query, SLOT, slots).limit(1)) is not None


def _discard(
    connection: Connection, item: Readiness, assets: AssetGraph, now: datetime
) -> Materialization:
    candidate = item.candidate
    row = connection.execute(
        update(_rows)
        .where(
            _rows.c.id == candidate.id,
            _rows.c.state.in_(predecessors(MaterializationState.DISCARDED)),
        )
        .values(
            state=MaterializationState.DISCARDED,
            available_at=None,
            finished_at=now,
            error=item.error,
        )
        .returning(_rows)
    ).one()
    requeue(connection, candidate.partition, assets.dependents(candidate.asset), now)
    discarded = materialization_of(row)
    overlap_queue.on_end(connection, discarded, now)
    return discarded


def _start(
    connection: Connection, checked: Sequence[Readiness], runner_id: str, now: datetime
) -> list[Claim]:
    if not checked:
        return []
    found = events.of_materializations(connection, [item.candidate.id for item in checked])
    claims = []
    for item in checked:
        token = uuid.uuid4().hex
        row = connection.execute(
            update(_rows)
            .where(
                _rows.c.id == item.candidate.id,
                _rows.c.state.in_(predecessors(MaterializationState.RUNNING)),
            )
            .values(
                state=MaterializationState.RUNNING,
                attempt=_rows.c.attempt + 1,
                available_at=None,
                started_at=item.candidate.started_at or now,
                runner_id=runner_id,
                token=token,
            )
            .returning(_rows)
        ).one()
        started = materialization_of(row)
        claims.append(Claim(started, token, tuple(found[started.id]), item.upstream))
    attempts = [
        {
            "materialization_id": item.materialization.id,
            "number": item.materialization.attempt,
            "started_at": now,
            "runner_id": runner_id,
        }
        for item in claims
    ]
    connection.execute(insert(schema.attempts), attempts)
    return claims
