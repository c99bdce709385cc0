"""Dependencies: decide if a materialization may start, and find the ones it waits for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.enqueueing import ACTIVE, SLOT, Slot, materialization_of
from flowstone_core.store.readable_rows import read
from flowstone_core.store.statements import among

_rows = schema.materializations

_STARTED = (MaterializationState.RUNNING, MaterializationState.RETRYING)

_ActiveBySlot: TypeAlias = dict[Slot, list[Materialization]]


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

    Args:
        connection: A transaction that has locked the candidates.
        candidates: Pending or retrying.
        assets: All assets, those of the candidates among them.
    """
    pending = [item for item in candidates if item.state is MaterializationState.PENDING]
    active = _active(
        connection,
        {
            (name, item.partition): None
            for item in pending
            for name in (item.asset, *assets[item.asset].depends_on)
        },
    )
    checked = []
    for candidate in candidates:
        found = Readiness(candidate)
        # A candidate that started before has no dependency left to wait for.
        joined = active if candidate.state is MaterializationState.PENDING else None
        if joined is not None:
            _check_own_partition(found, joined)
        for name in assets[candidate.asset].depends_on:
            _check_upstream(connection, found, (name, candidate.partition), joined)
        checked.append(found)
    return checked


def _check_own_partition(found: Readiness, active: _ActiveBySlot) -> None:
    slot = found.candidate.asset, found.candidate.partition
    for other in active.get(slot, ()):
        if other.state in _STARTED:
            found.waits_for.append(f"the previous run, #{other.id}")


def _check_upstream(
    connection: Connection, found: Readiness, slot: Slot, active: _ActiveBySlot | None
) -> None:
    """Check one dependency of a candidate."""
    name, _ = slot
    completed = _latest(connection, slot, MaterializationState.COMPLETED)
    if completed is not None:
        found.upstream[name] = completed.metadata
    if active is None:
        return
    waiting = active.get(slot, [])
    if completed is not None:
        # Materializations enqueued later serve the next run of the candidate's asset.
        waiting = [other for other in waiting if other.id < found.candidate.id]
    if waiting:
        found.waits_for += [f"{name} #{other.id}" for other in waiting]
    elif completed is None:
        failed = _failed_since(connection, slot, found.candidate.requested_at)
        if failed is None:
            found.missing.append(slot)
        else:
            found.error = (
                f"{name} #{failed.id}, which it depends on, ended {failed.state}; "
                f"retry it with: flowstone materializations retry {failed.id}"
            )


def _active(connection: Connection, slots: Collection[Slot]) -> _ActiveBySlot:
    """Return the active materializations of slots, locked against ending before this transaction.

    Either the transaction that ends one sees the held candidate, or this one sees that it ended.
    """
    by_slot: _ActiveBySlot = {}
    if not slots:
        return by_slot
    query = (
        select(_rows)
        .where(_rows.c.state.in_(ACTIVE))
        .order_by(_rows.c.id)
        .with_for_update(read=True, of=_rows)
    )
    for item in read(connection.execute(among(query, SLOT, slots)), _rows, materialization_of):
        by_slot.setdefault((item.asset, item.partition), []).append(item)
    return by_slot


def _latest(
    connection: Connection, slot: Slot, state: MaterializationState
) -> Materialization | None:
    name, partition = slot
    query = (
        select(_rows)
        .where(_rows.c.asset == name, _rows.c.partition == partition, _rows.c.state == state)
        .order_by(_rows.c.finished_at.desc(), _rows.c.id.desc())
        .limit(1)
    )
    return next(iter(read(connection.execute(query), _rows, materialization_of)), None)


def _failed_since(connection: Connection, slot: Slot, moment: datetime) -> Materialization | None:
    states = (MaterializationState.DISCARDED, MaterializationState.CANCELLED)
    for state in states:
        found = _latest(connection, slot, state)
        if found is not None and found.finished_at is not None and found.finished_at >= moment:
            return found
    return None
