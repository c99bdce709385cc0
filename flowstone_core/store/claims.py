"""Claiming: which materializations may start now, and what the others wait for."""

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
from flowstone_core.store.dependencies import Readiness, look_at
from flowstone_core.store.enqueueing import (
    ACTIVE,
    SLOT,
    ask,
    materialization_of,
    of_assets,
    requeue,
)
from flowstone_core.store.statements import among

_rows = schema.materializations

LOOK_LIMIT = 1_000
"""Candidates looked at in one transaction; most are claimed, but all may have to wait."""


def claim(
    connection: Connection, runner_id: str, limit: int, assets: AssetGraph, now: datetime
) -> ClaimRound:
    """Start what may start; hold back, ask for, and discard what that takes.

    See `MaterializationQueue.claim`.
    """
    claims: list[Claim] = []
    changed: list[Materialization] = []
    looked = 0
    while len(claims) < limit and looked < LOOK_LIMIT:
        candidates = _candidates(connection, limit - len(claims), assets, now)
        if not candidates:
            return ClaimRound(tuple(claims), tuple(changed), _next_at(connection, assets, now))
        looked += len(candidates)
        looks = look_at(connection, candidates, assets)
        ready = [look for look in looks if look.error is None and not look.must_wait]
        claims += _start(connection, ready, runner_id, now)
        for look in looks:
            if look.must_wait:
                changed += _hold(connection, look, assets, now)
        # Last, because each lets go what is held back for it, some of these perhaps.
        for look in looks:
            if look.error is not None:
                changed.append(_discard(connection, look, assets, now))
    # More may be due: whoever has room asks again at once.
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
    connection: Connection, look: Readiness, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Take a candidate out of the queue until what it waits for has ended."""
    numbers, created = ask(connection, look.missing, assets, now)
    if _overtaken(connection, created):
        # The candidate stays in the queue, and is looked at anew.
        made = [item.id for item in created]
        connection.execute(delete(_rows).where(_rows.c.id.in_(made)))
        return []
    waits_for = look.waits_for + [f"{name} #{number}" for (name, _), number in numbers.items()]
    connection.execute(
        update(_rows)
        .where(_rows.c.id == look.candidate.id)
        .values(available_at=None, waiting_for=", ".join(waits_for))
    )
    return created


def _overtaken(connection: Connection, created: Sequence[Materialization]) -> bool:
    """Say whether others made, or are making, what was just asked for because nobody had.

    On PostgreSQL they may between the look and the asking; from then on they cannot.
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
    connection: Connection, look: Readiness, assets: AssetGraph, now: datetime
) -> Materialization:
    candidate = look.candidate
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
            error=look.error,
        )
        .returning(_rows)
    ).one()
    requeue(connection, candidate.partition, assets.dependents(candidate.asset), now)
    discarded = materialization_of(row)
    overlap_queue.ended(connection, discarded, now)
    return discarded


def _start(
    connection: Connection, looks: Sequence[Readiness], runner_id: str, now: datetime
) -> list[Claim]:
    if not looks:
        return []
    found = events.of_materializations(connection, [look.candidate.id for look in looks])
    claims = []
    for look in looks:
        token = uuid.uuid4().hex
        row = connection.execute(
            update(_rows)
            .where(
                _rows.c.id == look.candidate.id,
                _rows.c.state.in_(predecessors(MaterializationState.RUNNING)),
            )
            .values(
                state=MaterializationState.RUNNING,
                attempt=_rows.c.attempt + 1,
                available_at=None,
                started_at=look.candidate.started_at or now,
                runner_id=runner_id,
                token=token,
            )
            .returning(_rows)
        ).one()
        started = materialization_of(row)
        claims.append(Claim(started, token, tuple(found[started.id]), look.upstream))
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
