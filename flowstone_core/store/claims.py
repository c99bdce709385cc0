"""Claims: start the materializations that are due and ready, and hold back the others."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import ClaimRound
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import (
    Claim,
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.store import events, schema
from flowstone_core.store.dependencies import Readiness, check_readiness
from flowstone_core.store.discarding import discard, discard_unreadable
from flowstone_core.store.enqueueing import (
    ACTIVE,
    SLOT,
    enqueue,
    materialization_of,
    of_assets,
)
from flowstone_core.store.readable_rows import UnreadableRowError, read_one
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
        rows = _candidates(connection, limit - len(claims), assets, now)
        if not rows:
            return ClaimRound(tuple(claims), tuple(changed), _next_at(connection, assets, now))
        examined += len(rows)
        candidates, discarded = _readable(connection, rows, assets, now)
        changed += discarded
        checked = check_readiness(connection, candidates, assets)
        found = _read_events(connection, checked)
        ready = [item for item in checked if item.error is None and not item.must_wait]
        if ready:
            claims += _start(connection, ready, found, runner_id, now)
        for item in checked:
            if item.must_wait:
                changed += _hold(connection, item, assets, now)
        # Last, because each requeues what waits for it, perhaps some of these.
        for item in checked:
            if item.error is not None:
                changed.append(discard(connection, item.candidate.id, item.error, assets, now))
    # More may be due: a caller with free threads claims again at once.
    next_at = _next_at(connection, assets, now) if len(claims) >= limit else now
    return ClaimRound(tuple(claims), tuple(changed), next_at)


def _candidates(
    connection: Connection, limit: int, assets: AssetGraph, now: datetime
) -> Sequence[Row[*tuple[object, ...]]]:
    query = (
        select(_rows)
        .where(schema.CLAIMABLE, _rows.c.available_at <= now, of_assets(assets))
        .order_by(_rows.c.available_at, _rows.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(query).all()


def _readable(
    connection: Connection,
    rows: Iterable[Row[*tuple[object, ...]]],
    assets: AssetGraph,
    now: datetime,
) -> tuple[list[Materialization], list[Materialization]]:
    """Return the candidates that can be read; discard the others, and return them, too."""
    candidates, discarded = [], []
    for row in rows:
        try:
            candidates.append(read_one(row, _rows, materialization_of))
        except UnreadableRowError as error:
            discarded.append(discard_unreadable(connection, row, error, assets, now))
    return candidates, discarded


def _read_events(
    connection: Connection, checked: Sequence[Readiness]
) -> dict[int, list[StoredEvent]]:
    """Return the events of the ready candidates; one with an unreadable event gets an error."""
    ready = {
        item.candidate.id: item for item in checked if item.error is None and not item.must_wait
    }
    unreadable: dict[int, UnreadableRowError] = {}
    found = events.of_materializations(connection, ready, unreadable)
    for number, error in unreadable.items():
        ready[number].error = f"{error.message}; repair or delete it, and retry"
    return found


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


def _start(
    connection: Connection,
    checked: Sequence[Readiness],
    found: Mapping[int, Sequence[StoredEvent]],
    runner_id: str,
    now: datetime,
) -> list[Claim]:
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
