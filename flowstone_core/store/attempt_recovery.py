"""Attempt recovery: ends the attempts of dead runners, and gives back unknown claims."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Integer, and_, exists, or_, select

from flowstone_core.model.materialization import (
    AttemptOutcome,
    Claim,
    Materialization,
    MaterializationState,
)
from flowstone_core.store import overlap_ends, runners, schema
from flowstone_core.store.attempts import CLOSE, ENDED, LET_GO, ONE, close, release
from flowstone_core.store.discarding import discard_unreadable, requeue_after
from flowstone_core.store.enqueueing import materialization_of
from flowstone_core.store.readable_rows import AnyRow, UnreadableRowError, read_one
from flowstone_core.store.row_writes import RowUpdate

_rows = schema.materializations

LOST_LIMIT = 5
"""Lost attempts after which a materialization is discarded: perhaps it kills its runners."""

_LOSE = RowUpdate(
    _rows.c.id,
    {**ENDED, "lost_attempts": Integer()},
    lambda given: {
        **{name: given[name] for name in (*ENDED, "lost_attempts")},
        "max_attempts": _rows.c.max_attempts + ONE,
        **LET_GO,
    },
)


def recover(
    connection: Connection, now: datetime, runner_id: str | None, held: Collection[str]
) -> list[Materialization]:
    """End the attempts of dead runners as lost, and release claims unknown to a live runner.

    See `MaterializationQueue.recover`.
    """
    known = set(held)
    unreadable: dict[AnyRow, UnreadableRowError] = {}
    unknown: list[Claim] = []
    lost: list[AnyRow] = []
    for row in _abandoned(connection, now, runner_id, known):
        try:
            read_one(row, _rows, materialization_of)
        except UnreadableRowError as error:
            unreadable[row] = error
            continue
        if row.runner_id == runner_id and row.token not in known:
            unknown.append(Claim(materialization_of(row), row.token, (), {}))
        else:
            lost.append(row)
    for row, why in unreadable.items():
        CLOSE(connection, [(row.id, row.attempt, AttemptOutcome.LOST, why.message, now)])
    return [
        *discard_unreadable(connection, unreadable, None, now),
        *release(connection, unknown, now),
        *_lose(connection, lost, now),
    ]


def _abandoned(
    connection: Connection, now: datetime, runner_id: str | None, held: Collection[str]
) -> Sequence[AnyRow]:
    """Lock the running materializations whose runners are dead, or do not know of them."""
    owners = schema.runners
    unknown = and_(_rows.c.runner_id == runner_id, _rows.c.token.not_in(list(held)))
    query = (
        select(_rows, owners.c.host, owners.c.pid, owners.c.lease_until, owners.c.stopped_at)
        .outerjoin(owners, owners.c.id == _rows.c.runner_id)
        .where(
            _rows.c.state == MaterializationState.RUNNING,
            or_(and_(~runners.alive(_rows.c.runner_id, now), ~_has_ended(runner_id, now)), unknown),
        )
        .order_by(_rows.c.id)
        .with_for_update(of=_rows, skip_locked=True)
    )
    return connection.execute(query).all()


def _has_ended(runner_id: str | None, now: datetime) -> ColumnElement[bool]:
    """Return the condition that the lease of the calling runner has ended, and none retired it.

    Where the clock was set forward or the machine slept, all leases have: nobody died.
    """
    me = schema.runners.alias("me")
    return exists().where(
        me.c.id == runner_id, me.c.stopped_at.is_(None), ~runners.is_alive(me, now)
    )


def _lose(connection: Connection, rows: Iterable[AnyRow], now: datetime) -> list[Materialization]:
    """End lost attempts; one lost too often is discarded."""
    lost = [_lost(row, now) for row in rows]
    counts = [row.lost_attempts + 1 for row in rows]
    _LOSE(
        connection,
        [
            (item.id, item.state, item.available_at, item.finished_at, item.error, count)
            for item, count in zip(lost, counts, strict=True)
        ],
    )
    close(connection, [(item, AttemptOutcome.LOST, item.error) for item in lost], now)
    exhausted = [item for item in lost if item.state.ended]
    if exhausted:
        requeue_after(connection, exhausted, None, now)
        overlap_ends.on_end(connection, exhausted, now)
    return lost


def _lost(row: AnyRow, now: datetime) -> Materialization:
    """Return a materialization as it is stored after its attempt was lost."""
    before = materialization_of(row)
    count = row.lost_attempts + 1
    exhausted = count >= LOST_LIMIT
    error = f"attempt {before.attempt} was lost: {_fate(row)}"
    if exhausted:
        error += f"; {count} attempts were lost with their runners, and no more are started"
    return replace(
        before,
        state=MaterializationState.DISCARDED if exhausted else MaterializationState.RETRYING,
        available_at=None if exhausted else now,
        finished_at=now if exhausted else None,
        error=error,
        max_attempts=before.max_attempts + 1,
    )


def _fate(row: AnyRow) -> str:
    """Describe the end of the runner that held a materialization."""
    if row.host is None:
        return f"unknown runner {row.runner_id}"
    runner = f"its runner on {row.host} (pid {row.pid})"
    if row.stopped_at is not None:
        return f"{runner} stopped or died"
    if not isinstance(row.lease_until, datetime):  # unreadable
        return f"{runner} is gone"
    return f"the lease of {runner} expired at {row.lease_until:%Y-%m-%d %H:%M:%S}Z"
