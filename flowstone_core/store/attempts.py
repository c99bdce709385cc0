"""Attempts: end and release them, and requeue the materializations that wait."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Integer, String, Text, func, literal_column, null, select

from flowstone_core.errors import StaleAttemptError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import AttemptEnd, EndRound
from flowstone_core.model.json_document import load_object
from flowstone_core.model.materialization import (
    Attempt,
    AttemptOutcome,
    Claim,
    Materialization,
    MaterializationState,
)
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import events, overlap_ends, schema
from flowstone_core.store.column_types import ID, NAME, UtcDateTime
from flowstone_core.store.discarding import requeue_after, slots_after
from flowstone_core.store.enqueueing import Slot
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.readable_rows import AnyRow, read
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import RowUpdate

_rows = schema.materializations
_attempts = schema.attempts

ENDED = {
    "state": _rows.c.state.type,
    "available_at": UtcDateTime(),
    "finished_at": UtcDateTime(),
    "error": Text(),
}
"""What an attempt leaves behind in its materialization."""

ONE = literal_column("1", Integer())

LET_GO = {"token": null(), "runner_id": null()}
"""Nobody holds the materialization."""

_numbers = row_set("numbers", id=ID)
_tokens = row_set("tokens", held=String(32))
_claims = row_set("claims", id=ID, token=String(32))
_slots = row_set("slots", asset=NAME, partition=Text())

_HELD = select(_rows.c.token).join(_tokens, _rows.c.token == _tokens.c.held).where(schema.HELD)
_LAST_STARTS = (
    select(_attempts.c.materialization_id, func.max(_attempts.c.started_at).label("last"))
    .join(_numbers, _attempts.c.materialization_id == _numbers.c.id)
    .group_by(_attempts.c.materialization_id)
)
_LOCK_PENDING = (
    select(_rows.c.id)
    .select_from(matching(_slots, _rows))
    .where(schema.PENDING)
    .order_by(_rows.c.id)
    .with_for_update(of=_rows)
)
_LOCK_CURRENT = HotStatement(
    select(_rows.c.token)
    .select_from(matching(_claims, _rows))
    # Only a running one has a token.
    .order_by(_rows.c.id)
    .with_for_update(of=_rows)
)
_FINISH = RowUpdate(
    _rows.c.id,
    {**ENDED, "metadata": Text(), "spared": Integer()},
    lambda given: {
        **{name: given[name] for name in (*ENDED, "metadata")},
        "max_attempts": _rows.c.max_attempts + given["spared"],
        **LET_GO,
    },
)
_RELEASE = RowUpdate(
    _rows.c.id,
    {"available_at": UtcDateTime()},
    lambda given: {
        "state": literal_column(f"'{MaterializationState.RETRYING}'"),
        "available_at": given["available_at"],
        "max_attempts": _rows.c.max_attempts + ONE,
        **LET_GO,
    },
)
CLOSE = RowUpdate(
    _attempts.c.materialization_id,
    {"number": Integer(), "outcome": String(20), "error": Text(), "finished_at": UtcDateTime()},
    lambda given: {name: given[name] for name in ("outcome", "error", "finished_at")},
    same=["number"],
)


def finish(
    connection: Connection, ends: Sequence[AttemptEnd], assets: AssetGraph, now: datetime
) -> EndRound:
    """End attempts, and requeue the materializations that wait for them.

    See `MaterializationQueue.finish`. The number of statements does not depend on that of ends.
    """
    waiting = [end.claim.materialization for end in ends if end.result.state.ended]
    _lock_pending(connection, slots_after(waiting, assets))
    current = lock_current(connection, [end.claim for end in ends])
    stale = {end.claim.token: _stale(end.claim) for end in ends if end.claim.token not in current}
    ends = [end for end in ends if end.claim.token in current]
    _FINISH(connection, [_row_of(end, now) for end in ends])
    finished = with_last_starts(connection, [_finished(end, now) for end in ends])
    close(
        connection,
        [(end.claim.materialization, end.result.outcome, end.result.error) for end in ends],
        now,
    )
    ended = [item for item in finished if item.state.ended]
    followers = []
    if ended:
        followers = _follow(connection, ended, assets, now)
        requeue_after(connection, ended, assets, now)
        overlap_ends.on_end(connection, ended, now)
    return EndRound((*finished, *followers), stale)


def release(
    connection: Connection, claims: Collection[Claim], now: datetime
) -> list[Materialization]:
    """Release attempts, which are not counted; attempts whose token has expired are left alone."""
    current = lock_current(connection, claims)
    given_back = [claim.materialization for claim in claims if claim.token in current]
    _RELEASE(connection, [(item.id, now) for item in given_back])
    close(connection, [(item, AttemptOutcome.RELEASED, None) for item in given_back], now)
    return [
        replace(
            item,
            state=MaterializationState.RETRYING,
            available_at=now,
            max_attempts=item.max_attempts + 1,
        )
        for item in given_back
    ]


def stale_tokens(connection: Connection, tokens: Collection[str]) -> set[str]:
    """Return the tokens that have expired."""
    given = {"tokens": [(token,) for token in tokens]}
    return set(tokens).difference(connection.scalars(_HELD, given))


def close_running(
    connection: Connection, number: int, attempt: int, error: str, now: datetime
) -> None:
    """Mark the running attempt of a materialization as cancelled."""
    CLOSE(connection, [(number, attempt, AttemptOutcome.CANCELLED, error, now)])


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
    again = [(item.id,) for item in items if item.attempt > 1]
    if not again:
        return list(items)
    rows = connection.execute(_LAST_STARTS, {"numbers": again})
    last = {row.materialization_id: row.last for row in rows}
    return [replace(item, attempt_started_at=last.get(item.id)) for item in items]


def _attempt_of(row: AnyRow) -> Attempt:
    return Attempt(
        number=row.number,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=None if row.outcome is None else AttemptOutcome(row.outcome),
        error=row.error,
        runner_id=row.runner_id,
    )


def _lock_pending(connection: Connection, slots: Iterable[Slot]) -> None:
    """Lock waiting materializations before the ones they wait for, in the order of claims.

    SQLite has one writer, and needs no order of locks.
    """
    if slots and connection.dialect.name != "sqlite":
        connection.execute(_LOCK_PENDING, {"slots": list(dict.fromkeys(slots))})


def lock_current(connection: Connection, claims: Collection[Claim]) -> set[str]:
    """Lock the materializations that claims still hold; return the tokens."""
    held = [(claim.materialization.id, claim.token) for claim in claims]
    return {token for (token,) in _LOCK_CURRENT(connection, claims=held)}


def _stale(claim: Claim) -> StaleAttemptError:
    item = claim.materialization
    return StaleAttemptError(
        f"attempt {item.attempt} of {item.asset} #{item.id} is stale: its token expired; "
        "its result was discarded",
        materialization=item.id,
    )


def _row_of(end: AttemptEnd, now: datetime) -> tuple[object, ...]:
    result = end.result
    return (
        end.claim.materialization.id,
        result.state,
        result.retry_at,
        now if result.state.ended else None,
        result.error,
        result.metadata,
        int(result.spared),
    )


def _finished(end: AttemptEnd, now: datetime) -> Materialization:
    """Return a materialization as it is stored after the end of its attempt."""
    before, result = end.claim.materialization, end.result
    return replace(
        before,
        state=result.state,
        available_at=result.retry_at,
        finished_at=now if result.state.ended else None,
        error=result.error,
        metadata=None if result.metadata is None else load_object(result.metadata),
        max_attempts=before.max_attempts + result.spared,
    )


def close(
    connection: Connection,
    ended: Iterable[tuple[Materialization, AttemptOutcome, str | None]],
    now: datetime,
) -> None:
    """Close the running attempts of materializations."""
    rows = [(item.id, item.attempt, outcome, error, now) for item, outcome, error in ended]
    CLOSE(connection, rows)


def _follow(
    connection: Connection,
    finished: Iterable[Materialization],
    assets: AssetGraph,
    now: datetime,
) -> list[Materialization]:
    """Insert an event for each follower of the completed ones of ended materializations."""
    found = [
        FoundEvent(f"asset:{item.asset}", NewEvent(f"{item.run_id}:{name}", name, item.partition))
        for item in finished
        if item.state is MaterializationState.COMPLETED
        for name in assets.followers(item.asset)
    ]
    if not found:
        return []
    # In one order, whatever ends together: concurrent transactions insert the same slots.
    order = {name: number for number, name in enumerate(assets)}
    found.sort(key=lambda item: (order[item.event.asset], item.event.partition))
    _, created = events.commit(connection, found, assets, now)
    return created
