"""Claiming: which materializations may start now, and what the others wait for."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, delete, func, insert, select, update

from flowstone_core.asset import AssetGraph
from flowstone_core.document import JsonObject
from flowstone_core.engine import ClaimRound
from flowstone_core.materialization import (
    Claim,
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.store import events, schema
from flowstone_core.store.database import among
from flowstone_core.store.requests import (
    ACTIVE,
    SLOT,
    Slot,
    ask,
    let_go,
    materialization_of,
    of_assets,
)

_rows = schema.materializations

LOOK_LIMIT = 1_000
"""Candidates looked at in one transaction; most are claimed, but all may have to wait."""

_STARTED = (MaterializationState.RUNNING, MaterializationState.RETRYING)

_Standing: TypeAlias = dict[Slot, list[Materialization]]


@dataclass(slots=True)
class _Look:
    """What is found of one candidate.

    Attributes:
        upstream: What the assets it depends on returned, as far as they are completed.
        waits_for: What must end first, for people.
        missing: Assets that were never made, nor asked for.
        error: Why it cannot be made; None if it can.
    """

    candidate: Materialization
    upstream: dict[str, JsonObject | None] = field(default_factory=dict)
    waits_for: list[str] = field(default_factory=list)
    missing: list[Slot] = field(default_factory=list)
    error: str | None = None


def claim(
    connection: Connection, worker: str, limit: int, assets: AssetGraph, now: datetime
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
        ready: list[_Look] = []
        for look in _looks(connection, candidates, assets):
            if look.error is not None:
                changed.append(_discard(connection, look, assets, now))
            elif look.waits_for or look.missing:
                changed += _hold(connection, look, assets, now)
            else:
                ready.append(look)
        claims += _start(connection, ready, worker, now)
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


def _looks(
    connection: Connection, candidates: Sequence[Materialization], assets: AssetGraph
) -> list[_Look]:
    pending = [item for item in candidates if item.state is MaterializationState.PENDING]
    active = _active(
        connection,
        {
            (name, item.partition): None
            for item in pending
            for name in (item.asset, *assets[item.asset].depends_on)
        },
    )
    looks = []
    for candidate in candidates:
        look = _Look(candidate)
        # One that was started before has had all it waited for.
        joined = active if candidate.state is MaterializationState.PENDING else None
        if joined is not None:
            _look_at_own_partition(look, joined)
        for name in assets[candidate.asset].depends_on:
            _look_at_upstream(connection, look, (name, candidate.partition), joined)
        looks.append(look)
    return looks


def _look_at_own_partition(look: _Look, active: _Standing) -> None:
    slot = look.candidate.asset, look.candidate.partition
    for other in active.get(slot, ()):
        if other.state in _STARTED:
            look.waits_for.append(f"the run before it, #{other.id}")


def _look_at_upstream(
    connection: Connection, look: _Look, slot: Slot, active: _Standing | None
) -> None:
    """Find out whether a candidate has, or must wait for, one of the assets it depends on."""
    name, _ = slot
    completed = _latest(connection, slot, MaterializationState.COMPLETED)
    if completed is not None:
        look.upstream[name] = completed.metadata
    if active is None:
        return
    waiting = active.get(slot, [])
    if completed is not None:
        # Those asked for after it are for what depends on them next time.
        waiting = [other for other in waiting if other.id < look.candidate.id]
    if waiting:
        look.waits_for += [f"{name} #{other.id}" for other in waiting]
    elif completed is None:
        failed = _failed_since(connection, slot, look.candidate.requested_at)
        if failed is None:
            look.missing.append(slot)
        else:
            look.error = (
                f"{name} #{failed.id}, which it depends on, ended {failed.state}; "
                f"retry it with: flowstone materializations retry {failed.id}"
            )


def _active(connection: Connection, slots: Collection[Slot]) -> _Standing:
    """Find those that have not ended, and keep them from ending before this transaction does.

    So either whoever ends one sees who is held back for it, or it is seen here that it ended.
    """
    standing: _Standing = {}
    if not slots:
        return standing
    query = (
        select(_rows)
        .where(_rows.c.state.in_(ACTIVE))
        .order_by(_rows.c.id)
        .with_for_update(read=True, of=_rows)
    )
    for row in connection.execute(among(query, SLOT, slots)):
        standing.setdefault((row.asset, row.partition), []).append(materialization_of(row))
    return standing


def _latest(
    connection: Connection, slot: Slot, state: MaterializationState
) -> Materialization | None:
    name, partition = slot
    row = connection.execute(
        select(_rows)
        .where(_rows.c.asset == name, _rows.c.partition == partition, _rows.c.state == state)
        .order_by(_rows.c.finished_at.desc(), _rows.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else materialization_of(row)


def _failed_since(connection: Connection, slot: Slot, moment: datetime) -> Materialization | None:
    states = (MaterializationState.DISCARDED, MaterializationState.CANCELLED)
    for state in states:
        found = _latest(connection, slot, state)
        if found is not None and found.finished_at is not None and found.finished_at >= moment:
            return found
    return None


def _hold(
    connection: Connection, look: _Look, assets: AssetGraph, now: datetime
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
    connection: Connection, look: _Look, assets: AssetGraph, now: datetime
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
    let_go(connection, candidate.partition, assets.dependents(candidate.asset), now)
    return materialization_of(row)


def _start(
    connection: Connection, looks: Sequence[_Look], worker: str, now: datetime
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
                worker=worker,
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
            "worker": worker,
        }
        for item in claims
    ]
    connection.execute(insert(schema.attempts), attempts)
    return claims
