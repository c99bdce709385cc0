"""Attempts: end, release and recover them, and requeue the materializations that wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Row, and_, func, or_, select, update

from flowstone_core.errors import StaleAttemptError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.materialization import (
    Attempt,
    AttemptOutcome,
    Claim,
    Materialization,
    MaterializationState,
    predecessors,
)
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import events, overlap_queue, runners, schema
from flowstone_core.store.discarding import discard_unreadable
from flowstone_core.store.enqueueing import materialization_of, requeue
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.readable_rows import UnreadableRowError, read, read_one

_rows = schema.materializations
_attempts = schema.attempts

LOST_LIMIT = 5
"""Lost attempts after which a materialization is discarded: perhaps it kills its runners."""


def finish(
    connection: Connection, claim: Claim, end: AttemptResult, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """End an attempt, and requeue the materializations that wait for it.

    See `MaterializationQueue.finish`.
    """
    asset, partition = claim.materialization.asset, claim.materialization.partition
    waiting = (asset, *assets.dependents(asset))
    if end.state.ended:
        _lock_pending(connection, partition, waiting)
    values: dict[str, object] = {"error": end.error, "metadata": end.metadata}
    if end.spared:
        values["max_attempts"] = _rows.c.max_attempts + 1
    row = _move(connection, claim, end.state, end.retry_at, now, values)
    if row is None:
        raise StaleAttemptError(
            f"attempt {claim.materialization.attempt} of {asset} "
            f"#{claim.materialization.id} is stale: its token expired; "
            "its result was discarded",
            materialization=claim.materialization.id,
        )
    (finished,) = with_last_starts(connection, [materialization_of(row)])
    _close(connection, finished.id, finished.attempt, end.outcome, end.error, now)
    if not finished.state.ended:
        return [finished]
    followers = []
    if finished.state is MaterializationState.COMPLETED:
        followers = _follow(connection, finished, assets, now)
    requeue(connection, partition, waiting, now)
    overlap_queue.on_end(connection, finished, now)
    return [finished, *followers]


def release(connection: Connection, claims: Collection[Claim], now: datetime) -> None:
    """Release attempts; attempts whose token has expired are left alone."""
    for claim in claims:
        _give_back(connection, claim, now)


def recover(
    connection: Connection, now: datetime, runner_id: str | None, held: Collection[str]
) -> list[Materialization]:
    """End the attempts of dead runners as lost, and release claims unknown to a live runner.

    See `MaterializationQueue.recover`.
    """
    owners = schema.runners
    unknown = and_(_rows.c.runner_id == runner_id, _rows.c.token.not_in(list(held)))
    lost = connection.execute(
        select(_rows, owners.c.host, owners.c.pid, owners.c.lease_until, owners.c.stopped_at)
        .outerjoin(owners, owners.c.id == _rows.c.runner_id)
        .where(
            _rows.c.state == MaterializationState.RUNNING,
            or_(~runners.alive(_rows.c.runner_id, now), unknown),
        )
        .order_by(_rows.c.id)
        .with_for_update(of=_rows, skip_locked=True)
    ).all()
    changed = []
    for row in lost:
        try:
            read_one(row, _rows, materialization_of)
        except UnreadableRowError as error:
            _close(connection, row.id, row.attempt, AttemptOutcome.LOST, error.message, now)
            changed.append(discard_unreadable(connection, row, error, None, now))
            continue
        if row.runner_id == runner_id and row.token not in held:
            claim = Claim(materialization_of(row), row.token, (), {})
            changed += _give_back(connection, claim, now)
        else:
            changed.append(_lose(connection, row, now))
    return changed


def stale_tokens(connection: Connection, tokens: Collection[str]) -> set[str]:
    """Return the tokens that have expired."""
    query = select(_rows.c.token).where(schema.HELD, _rows.c.token.in_(list(tokens)))
    return set(tokens).difference(connection.scalars(query))


def close_running(
    connection: Connection, number: int, attempt: int, error: str, now: datetime
) -> None:
    """Mark the running attempt of a materialization as cancelled."""
    _close(connection, number, attempt, AttemptOutcome.CANCELLED, error, now)


def of_materialization(connection: Connection, number: int) -> list[Attempt]:
    """List the attempts of a materialization, first one first."""
    query = (
        select(_attempts)
        .where(_attempts.c.materialization_id == number)
        .order_by(_attempts.c.number)
    )
    return read(connection.execute(query), _attempts, _attempt_of)


def with_last_starts(
    connection: Connection, items: Sequence[Materialization]
) -> list[Materialization]:
    """Return materializations with the start of their last attempt, if they have several."""
    again = [item.id for item in items if item.attempt > 1]
    if not again:
        return list(items)
    starts = (
        select(_attempts.c.materialization_id, func.max(_attempts.c.started_at).label("last"))
        .where(_attempts.c.materialization_id.in_(again))
        .group_by(_attempts.c.materialization_id)
    )
    last = {row.materialization_id: row.last for row in connection.execute(starts)}
    return [replace(item, attempt_started_at=last.get(item.id)) for item in items]


def _attempt_of(row: Row[*tuple[object, ...]]) -> Attempt:
    return Attempt(
        number=row.number,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=None if row.outcome is None else AttemptOutcome(row.outcome),
        error=row.error,
        runner_id=row.runner_id,
    )


def _lock_pending(connection: Connection, partition: str, names: Sequence[str]) -> None:
    """Lock waiting materializations before the ones they wait for, in the order of claims.

    SQLite has one writer, and needs no order of locks.
    """
    if connection.dialect.name == "sqlite":
        return
    connection.execute(
        select(_rows.c.id)
        .where(
            _rows.c.asset.in_(names),
            _rows.c.partition == partition,
            _rows.c.state == MaterializationState.PENDING,
        )
        .order_by(_rows.c.id)
        .with_for_update()
    )


def _move(
    connection: Connection,
    claim: Claim,
    state: MaterializationState,
    available_at: datetime | None,
    now: datetime,
    values: Mapping[str, object],
) -> Row[*tuple[object, ...]] | None:
    """Change the state of a running materialization if the claim still holds it."""
    return connection.execute(
        update(_rows)
        .where(
            _rows.c.id == claim.materialization.id,
            _rows.c.token == claim.token,
            _rows.c.state == MaterializationState.RUNNING,
            _rows.c.state.in_(predecessors(state)),
        )
        .values(
            state=state,
            available_at=available_at,
            finished_at=now if state.ended else None,
            token=None,
            runner_id=None,
            **values,
        )
        .returning(_rows)
    ).one_or_none()


def _close(
    connection: Connection,
    number: int,
    attempt: int,
    outcome: AttemptOutcome,
    error: str | None,
    now: datetime,
) -> None:
    connection.execute(
        update(_attempts)
        .where(_attempts.c.materialization_id == number, _attempts.c.number == attempt)
        .values(outcome=outcome, error=error, finished_at=now)
    )


def _follow(
    connection: Connection, finished: Materialization, assets: AssetGraph, now: datetime
) -> list[Materialization]:
    """Insert an event for each follower of a completed materialization."""
    found = [
        FoundEvent(
            f"asset:{finished.asset}",
            NewEvent(f"{finished.run_id}:{name}", name, finished.partition),
        )
        for name in assets.followers(finished.asset)
    ]
    _, created = events.commit(connection, found, assets, now)
    return created


def _give_back(connection: Connection, claim: Claim, now: datetime) -> list[Materialization]:
    """Requeue a claimed materialization without counting the attempt."""
    spared = {"max_attempts": _rows.c.max_attempts + 1}
    row = _move(connection, claim, MaterializationState.RETRYING, now, now, spared)
    if row is None:
        return []
    given_back = materialization_of(row)
    _close(connection, given_back.id, given_back.attempt, AttemptOutcome.RELEASED, None, now)
    return [given_back]


def _lose(connection: Connection, row: Row[*tuple[object, ...]], now: datetime) -> Materialization:
    lost = materialization_of(row)
    count = row.lost_attempts + 1
    exhausted = count >= LOST_LIMIT
    state = MaterializationState.DISCARDED if exhausted else MaterializationState.RETRYING
    error = f"attempt {lost.attempt} was lost: {_fate(row)}"
    if exhausted:
        error += f"; {count} attempts were lost with their runners, and no more are started"
    values = {"error": error, "lost_attempts": count, "max_attempts": _rows.c.max_attempts + 1}
    claim = Claim(lost, row.token, (), {})
    moved = _move(connection, claim, state, None if exhausted else now, now, values)
    _close(connection, lost.id, lost.attempt, AttemptOutcome.LOST, error, now)
    if moved is None:
        return lost
    if exhausted:
        requeue(connection, lost.partition, None, now)
        overlap_queue.on_end(connection, materialization_of(moved), now)
    return materialization_of(moved)


def _fate(row: Row[*tuple[object, ...]]) -> str:
    """Describe the end of the runner that held a materialization."""
    if row.host is None:
        return f"unknown runner {row.runner_id}"
    runner = f"its runner on {row.host} (pid {row.pid})"
    if row.stopped_at is not None:
        return f"{runner} stopped or died"
    if not isinstance(row.lease_until, datetime):  # unreadable
        return f"{runner} is gone"
    return f"the lease of {runner} expired at {row.lease_until:%Y-%m-%d %H:%M:%S}Z"
