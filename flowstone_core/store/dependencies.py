"""Dependencies: whether a materialization may start, and what it has to wait for."""

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
from flowstone_core.store.statements import among

_rows = schema.materializations

_STARTED = (MaterializationState.RUNNING, MaterializationState.RETRYING)

_Standing: TypeAlias = dict[Slot, list[Materialization]]


@dataclass(slots=True)
class Readiness:
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

    @property
    def must_wait(self) -> bool:
        """Whether it can be made, but not yet."""
        return self.error is None and bool(self.waits_for or self.missing)


def look_at(
    connection: Connection, candidates: Sequence[Materialization], assets: AssetGraph
) -> list[Readiness]:
    """Find out what each candidate has to wait for; what is found holds in this transaction.

    Args:
        connection: In a transaction that has locked the candidates.
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
    looks = []
    for candidate in candidates:
        look = Readiness(candidate)
        # One that was started before has had all it waited for.
        joined = active if candidate.state is MaterializationState.PENDING else None
        if joined is not None:
            _look_at_own_partition(look, joined)
        for name in assets[candidate.asset].depends_on:
            _look_at_upstream(connection, look, (name, candidate.partition), joined)
        looks.append(look)
    return looks


def _look_at_own_partition(look: Readiness, active: _Standing) -> None:
    slot = look.candidate.asset, look.candidate.partition
    for other in active.get(slot, ()):
        if other.state in _STARTED:
            look.waits_for.append(f"the run before it, #{other.id}")


def _look_at_upstream(
    connection: Connection, look: Readiness, slot: Slot, active: _Standing | None
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
