"""Dependencies: decide if a materialization may start, and find the ones it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import Connection, String, Text, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.column_types import NAME
from flowstone_core.store.enqueueing import Slot, is_active, materialization_of
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.readable_rows import read
from flowstone_core.store.row_sets import matching, row_set

_rows = schema.materializations

_STARTED = (MaterializationState.RUNNING, MaterializationState.RETRYING)
_FAILED = (MaterializationState.DISCARDED, MaterializationState.CANCELLED)

_slots = row_set("slots", asset=NAME, partition=Text())
_wanted = row_set("wanted", asset=NAME, partition=Text(), state=String(20))

_ACTIVE = HotStatement(
    select(_rows.c.id, _rows.c.asset, _rows.c.partition, _rows.c.state)
    .select_from(matching(_slots, _rows))
    .where(is_active(_rows.c.state))
    # As the end of attempts does: those that wait before those they wait for.
    .order_by(_rows.c.state != MaterializationState.PENDING, _rows.c.id)
    .with_for_update(read=True, of=_rows)
)
_ended = _rows.alias("ended")
_LATEST = select(_rows).join(
    _wanted,
    _rows.c.id
    == select(_ended.c.id)
    .where(
        _ended.c.asset == _wanted.c.asset,
        _ended.c.partition == _wanted.c.partition,
        _ended.c.state == _wanted.c.state,
    )
    .order_by(_ended.c.finished_at.desc(), _ended.c.id.desc())
    .limit(1)
    .correlate(_wanted)
    .scalar_subquery(),
)

_ActiveBySlot: TypeAlias = dict[Slot, dict[int, str]]


@dataclass(slots=True)
class Readiness:
    """The readiness of one candidate: start, wait or fail.

    Attributes:
        upstream: The results of the dependencies that are completed, by asset.
        waits_for: The materializations that must end first, as text.
        missing: Dependencies that were never materialized nor enqueued.
        error: The reason why the candidate cannot start; None if it can.
    """

    candidate: Materialization
    upstream: dict[str, JsonObject | None] = field(default_factory=dict)
    waits_for: list[str] = field(default_factory=list)
    missing: list[Slot] = field(default_factory=list)
    error: str | None = None

    @property
    def must_wait(self) -> bool:
        """True if the candidate can start, but not yet."""
        return self.error is None and bool(self.waits_for or self.missing)


def check_readiness(
    connection: Connection, candidates: Sequence[Materialization], assets: AssetGraph
) -> list[Readiness]:
    """Return the readiness of each candidate, valid until the end of this transaction.

    The number of statements does not depend on that of candidates and dependencies.

    Args:
        connection: A transaction that has locked the candidates.
        candidates: Pending or retrying.
        assets: All assets, those of the candidates among them.
    """
    upstream = _upstream(candidates, assets)
    # A candidate that started before has no dependency left to wait for.
    pending = [item for item in candidates if item.state is MaterializationState.PENDING]
    own = dict.fromkeys((item.asset, item.partition) for item in pending)
    active = _active(connection, own | dict.fromkeys(_upstream(pending, assets)))
    completed = _latest(connection, upstream, (MaterializationState.COMPLETED,))
    checked = [Readiness(candidate) for candidate in candidates]
    for found in checked:
        joined = active if found.candidate.state is MaterializationState.PENDING else None
        if joined is not None:
            _check_own_partition(found, joined)
        for name in assets[found.candidate.asset].depends_on:
            _check_upstream(found, (name, found.candidate.partition), joined, completed)
    missing = dict.fromkeys(slot for found in checked for slot in found.missing)
    failed = _latest(connection, missing, _FAILED)
    for found in checked:
        _check_missing(found, failed)
    return checked


def _upstream(candidates: Iterable[Materialization], assets: AssetGraph) -> dict[Slot, None]:
    return {
        (name, item.partition): None
        for item in candidates
        for name in assets[item.asset].depends_on
    }


def _check_own_partition(found: Readiness, active: _ActiveBySlot) -> None:
    slot = found.candidate.asset, found.candidate.partition
    for number, state in active.get(slot, {}).items():
        if state in _STARTED:
            found.waits_for.append(f"the previous run, #{number}")


def _check_upstream(
    found: Readiness,
    slot: Slot,
    active: _ActiveBySlot | None,
    latest: Mapping[tuple[Slot, str], Materialization],
) -> None:
    """Check one dependency of a candidate."""
    name, _ = slot
    completed = latest.get((slot, MaterializationState.COMPLETED))
    if completed is not None:
        found.upstream[name] = completed.metadata
    if active is None:
        return
    waiting = list(active.get(slot, ()))
    if completed is not None:
        # Materializations enqueued later serve the next run of the candidate's asset.
        waiting = [number for number in waiting if number < found.candidate.id]
    if waiting:
        found.waits_for += [f"{name} #{number}" for number in waiting]
    elif completed is None:
        found.missing.append(slot)


def _check_missing(found: Readiness, latest: Mapping[tuple[Slot, str], Materialization]) -> None:
    """Find out if a dependency that a candidate lacks has failed since it was requested."""
    for slot in list(found.missing):
        ended = (latest.get((slot, state)) for state in _FAILED)
        failed = next((each for each in ended if _ended_since(each, found.candidate)), None)
        if failed is not None:
            found.missing.remove(slot)
            found.error = (
                f"{failed.asset} #{failed.id}, which it depends on, ended {failed.state}; "
                f"retry it with: flowstone materializations retry {failed.id}"
            )


def _ended_since(item: Materialization | None, candidate: Materialization) -> bool:
    finished_at = None if item is None else item.finished_at
    return finished_at is not None and finished_at >= candidate.requested_at


def _active(connection: Connection, slots: Iterable[Slot]) -> _ActiveBySlot:
    """Return the states of the active ones of slots, locked against ending before this transaction.

    Either the transaction that ends one sees the held candidate, or this one sees that it ended.
    """
    by_slot: _ActiveBySlot = {}
    wanted = list(slots)
    if not wanted:
        return by_slot
    found = sorted(_ACTIVE(connection, slots=wanted), key=itemgetter(0))
    for number, asset, partition, state in found:
        by_slot.setdefault((asset, partition), {})[number] = state
    return by_slot


def _latest(
    connection: Connection, slots: Iterable[Slot], states: Iterable[MaterializationState]
) -> dict[tuple[Slot, str], Materialization]:
    """Return the materialization of each slot and state that ended last, by slot and state."""
    wanted = [(*slot, state) for slot in slots for state in states]
    if not wanted:
        return {}
    rows = connection.execute(_LATEST, {"wanted": wanted})
    found = read(rows, _rows, materialization_of)
    return {((item.asset, item.partition), item.state): item for item in found}
