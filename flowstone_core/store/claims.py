"""Claims: start the materializations that are due and ready, and hold back the others."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import (
    Connection,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    select,
)

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import ClaimRound
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Claim, Materialization, MaterializationState
from flowstone_core.store import events, schema
from flowstone_core.store.attempts import LET_GO, ONE, lock_current
from flowstone_core.store.column_types import ID, NAME, UtcDateTime
from flowstone_core.store.dependencies import Readiness, check_readiness
from flowstone_core.store.discarding import discard, discard_unreadable
from flowstone_core.store.enqueueing import ACTIVE, Slot, enqueue, materialization_of
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.readable_rows import AnyRow, UnreadableRowError, read_one
from flowstone_core.store.row_sets import row_set
from flowstone_core.store.row_writes import RowInsert, RowUpdate

_rows = schema.materializations

CANDIDATE_LIMIT = 1_000
"""Candidates examined in one transaction: most are claimed, but all of them may have to wait."""

_assets = row_set("assets", name=NAME)
_numbers = row_set("numbers", id=ID)
_slots = row_set("slots", asset=NAME, partition=Text(), id=ID)
_now = bindparam("now", type_=UtcDateTime())
# Not a plain comparison, or SQLite would use the index on assets; see `of_assets`.
_OF_ASSETS = _rows.c.asset.concat("").in_(select(_assets.c.name))

_CANDIDATES = (
    select(_rows)
    .where(schema.CLAIMABLE, _rows.c.available_at <= _now, _OF_ASSETS)
    .order_by(_rows.c.available_at, _rows.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_NEXT_AT = HotStatement(
    select(func.min(_rows.c.available_at)).where(
        schema.CLAIMABLE, _rows.c.available_at > _now, _OF_ASSETS
    )
)
_OVERTAKEN = (
    select(_rows.c.asset, _rows.c.partition)
    .join(_slots, and_(_rows.c.asset == _slots.c.asset, _rows.c.partition == _slots.c.partition))
    .where(_rows.c.state.in_([*ACTIVE, MaterializationState.COMPLETED]), _rows.c.id != _slots.c.id)
)
_DELETE = delete(_rows).where(_rows.c.id.in_(select(_numbers.c.id)))
_HOLD = RowUpdate(
    _rows.c.id,
    {"available_at": UtcDateTime(), "waiting_for": Text()},
    lambda given: {name: given[name] for name in ("available_at", "waiting_for")},
)
_STARTED = {
    name: _rows.c[name].type
    for name in ("state", "attempt", "available_at", "started_at", "runner_id", "token")
}
_START = RowUpdate(_rows.c.id, _STARTED, lambda given: {name: given[name] for name in _STARTED})
_INSERT = RowInsert(
    *(
        schema.attempts.c[name]
        for name in ("materialization_id", "number", "started_at", "runner_id")
    )
)

_TAKE_BACK = RowUpdate(
    _rows.c.id,
    {"available_at": UtcDateTime()},
    lambda given: {
        "state": literal_column(f"'{MaterializationState.RETRYING}'"),
        "attempt": _rows.c.attempt - ONE,
        "available_at": given["available_at"],
        "started_at": case((_rows.c.attempt > ONE, _rows.c.started_at)),
        **LET_GO,
    },
)
_FORGET_RUNNING = delete(schema.attempts).where(
    schema.attempts.c.materialization_id.in_(select(_numbers.c.id)),
    schema.attempts.c.finished_at.is_(None),
)


def claim(
    connection: Connection,
    runner_id: str,
    limit: int,
    assets: AssetGraph,
    now: datetime,
    ahead: int = 0,
) -> ClaimRound:
    """Start ready materializations; enqueue missing dependencies, and discard those that failed.

    See `MaterializationQueue.claim`. The number of statements does not depend on ``limit``, unless
    candidates have to wait and others take their places.
    """
    claims: list[Claim] = []
    changed: list[Materialization] = []
    examined = 0
    known = [(name,) for name in assets]
    while examined < CANDIDATE_LIMIT:
        wanted = limit + ahead - len(claims)
        given = {"assets": known, "now": now, "limit": wanted}
        rows = connection.execute(_CANDIDATES, given).all()
        examined += len(rows)
        candidates, unreadable = _readable(_cut_if_lost(rows, limit - len(claims)))
        checked = check_readiness(connection, candidates, assets)
        found = _read_events(connection, checked)
        ready = [item for item in checked if item.error is None and not item.must_wait]
        claims += _start(connection, ready, found, runner_id, now)
        held = _hold(connection, [item for item in checked if item.must_wait], assets, now)
        # Last, because each requeues what waits for it, perhaps some of these.
        errors = {item.candidate.id: item.error for item in checked if item.error is not None}
        changed += [
            *discard_unreadable(connection, unreadable, assets, now),
            *held,
            *discard(connection, errors, assets, now),
        ]
        all_due = len(ready) == len(rows) < wanted
        if len(claims) >= limit or all_due:
            return ClaimRound(tuple(claims), tuple(changed), _next_at(connection, known, now))
    # More may be due: a caller with free threads claims again at once.
    return ClaimRound(tuple(claims), tuple(changed), now)


def take_back(connection: Connection, claims: Collection[Claim], now: datetime) -> None:
    """Undo claims whose attempts never began; those whose token has expired are left alone.

    Nothing shows them: the next attempt has their number, and waits no longer if it fails. The
    state cannot be the one before, since another materialization may be pending now.
    """
    current = lock_current(connection, claims)
    undone = [claim.materialization.id for claim in claims if claim.token in current]
    _TAKE_BACK(connection, [(number, now) for number in undone])
    connection.execute(_FORGET_RUNNING, {"numbers": [(number,) for number in undone]})


def _cut_if_lost(rows: Sequence[AnyRow], limit: int) -> Sequence[AnyRow]:
    """Return no more rows than may start at once if one of them was lost with its runner."""
    return rows[:limit] if any(row.lost_attempts for row in rows) else rows


def _readable(
    rows: Iterable[AnyRow],
) -> tuple[list[Materialization], dict[AnyRow, UnreadableRowError]]:
    """Return the candidates that can be read, and the rows that cannot."""
    candidates = []
    unreadable = {}
    for row in rows:
        try:
            candidates.append(read_one(row, _rows, materialization_of))
        except UnreadableRowError as error:
            unreadable[row] = error
    return candidates, unreadable


def _read_events(
    connection: Connection, checked: Sequence[Readiness]
) -> dict[int, list[StoredEvent]]:
    """Return the events of the ready candidates; one with an unreadable event gets an error."""
    ready = {
        item.candidate.id: item for item in checked if item.error is None and not item.must_wait
    }
    if not ready:
        return {}
    unreadable: dict[int, UnreadableRowError] = {}
    found = events.of_materializations(connection, ready, unreadable)
    for number, error in unreadable.items():
        ready[number].error = f"{error.message}; repair or delete it, and retry"
    return found


def _next_at(
    connection: Connection, assets: Sequence[tuple[str]], now: datetime
) -> datetime | None:
    ((earliest,),) = _NEXT_AT(connection, assets=assets, now=now)
    # On SQLite it may be unreadable: nobody can wait for it.
    readable = isinstance(earliest, datetime) and earliest.tzinfo is not None
    return earliest if readable else None


def _hold(
    connection: Connection, held: Sequence[Readiness], assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Hold candidates back until the materializations they wait for have ended."""
    if not held:
        return []
    missing = dict.fromkeys(slot for item in held for slot in item.missing)
    numbers, created = enqueue(connection, missing, assets, now) if missing else ({}, [])
    overtaken = _overtaken(connection, created)
    if overtaken:
        gone = [(item.id,) for item in created if (item.asset, item.partition) in overtaken]
        connection.execute(_DELETE, {"numbers": gone})
        created = [item for item in created if (item.asset, item.partition) not in overtaken]
    rows = []
    for item in held:
        if overtaken.intersection(item.missing):
            # The candidate stays in the queue, and is examined again.
            continue
        waits_for = [*item.waits_for, *(f"{slot[0]} #{numbers[slot]}" for slot in item.missing)]
        rows.append((item.candidate.id, None, ", ".join(waits_for)))
    _HOLD(connection, rows)
    return created


def _overtaken(connection: Connection, created: Sequence[Materialization]) -> set[Slot]:
    """Return the created slots that a concurrent transaction enqueued or completed, too.

    On PostgreSQL that is possible between the check and the insert, and no longer after it.
    """
    if not created or connection.dialect.name == "sqlite":
        return set()
    slots = [(item.asset, item.partition, item.id) for item in created]
    return {
        (asset, partition) for asset, partition in connection.execute(_OVERTAKEN, {"slots": slots})
    }


def _start(
    connection: Connection,
    ready: Sequence[Readiness],
    found: Mapping[int, Sequence[StoredEvent]],
    runner_id: str,
    now: datetime,
) -> list[Claim]:
    claims = []
    for item in ready:
        started = replace(
            item.candidate,
            state=MaterializationState.RUNNING,
            attempt=item.candidate.attempt + 1,
            available_at=None,
            started_at=item.candidate.started_at or now,
        )
        claims.append(Claim(started, uuid.uuid4().hex, tuple(found[started.id]), item.upstream))
    started_now = [(item.materialization, item.token) for item in claims]
    _START(
        connection,
        [
            (item.id, item.state, item.attempt, None, item.started_at, runner_id, token)
            for item, token in started_now
        ],
    )
    _INSERT(connection, [(item.id, item.attempt, now, runner_id) for item, _ in started_now])
    return claims
