"""Expiry: what is old, and which of the old still says something and so stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, exists, not_, or_, select

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import schema
from flowstone_core.store.overlap_queue import PREFIX as SCHEDULE

SENSOR = "sensor:"
"""What the source of a sensor's events begins with."""

_rows = schema.materializations
_events = schema.events
_ticks = schema.ticks
_backfills = schema.backfills
_runners = schema.runners

Condition: TypeAlias = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class KeyRetention:
    """Which keys of events are remembered: those of events not older than these moments.

    Attributes:
        own: By source, for sensors that have a moment of their own.
        sensors: For all other sensors.
        schedules: For schedules: if the clock is set back, their instants come again.
    """

    own: Mapping[str, datetime]
    sensors: datetime
    schedules: datetime

    def holds(self) -> Condition:
        """Return the condition that an event's key is remembered."""
        names: dict[datetime, list[str]] = {}
        for source, moment in self.own.items():
            if moment != self.sensors:
                names.setdefault(moment, []).append(source)
        asked, made = _events.c.source, _events.c.created_at
        others = [asked.not_in(each) for each in names.values()]
        return and_(
            not_(_events.c.forgotten),
            or_(
                and_(asked.startswith(SCHEDULE), made >= self.schedules),
                and_(asked.startswith(SENSOR), made >= self.sensors, *others),
                *(and_(asked.in_(each), made >= moment) for moment, each in names.items()),
            ),
        )


@dataclass(frozen=True, slots=True)
class Expiry:
    """What is old at a moment, and what of it stays.

    Attributes:
        before: What ended before is old.
        memory: Which keys are remembered.
        asking: The sources of backfills that are not finished: by their events they know what
            they asked for, and do not ask again.
    """

    before: datetime
    checkpoint: KeyRetention
    asking: Sequence[str]

    def held(self) -> Condition:
        """Return the condition that an old event stays for the sake of its key."""
        return and_(_events.c.created_at < self.before, self.checkpoint.holds())

    def stays(self) -> Condition:
        """Return the condition that an event of an old materialization stays."""
        return or_(
            _events.c.created_at >= self.before,
            self.checkpoint.holds(),
            _events.c.source.in_(self.asking),
        )

    def ended(self) -> Condition:
        """Return the condition that a materialization is old."""
        return and_(_rows.c.finished_at.is_not(None), _rows.c.finished_at < self.before)

    def frees_tick(self) -> Condition:
        """Return the condition that no event that stays refers to a tick."""
        stays = or_(self.stays(), not_(self.ended()))
        same = _events.c.materialization_id == _rows.c.id
        return not_(exists().where(_events.c.tick_id == _ticks.c.id, same, stays))

    def is_gone(self) -> Condition:
        """Return the condition that a runner was last heard of long ago, and owns nothing."""
        running = _rows.c.state == MaterializationState.RUNNING
        owns = (
            exists().where(schema.sensors.c.owner == _runners.c.id),
            exists().where(schema.schedules.c.owner == _runners.c.id),
            exists().where(running, _rows.c.runner_id == _runners.c.id),
        )
        return and_(
            _runners.c.lease_until < self.before,
            or_(_runners.c.stopped_at.is_(None), _runners.c.stopped_at < self.before),
            not_(or_(*owns)),
        )


def asking(connection: Connection) -> list[str]:
    """Return the sources of the backfills that are not finished."""
    query = select(_backfills.c.id).where(schema.UNFINISHED)
    return [f"backfill:{number}" for number in connection.scalars(query)]


def is_forgettable(source: str, before: datetime) -> Condition:
    """Return the condition that an event of a source has a key that is remembered too long."""
    # The partial index is found by its very text.
    return and_(_events.c.source == source, schema.REMEMBERED, _events.c.created_at < before)


def is_latest() -> Condition:
    """Return the condition that a materialization is the latest completed one of its partition.

    The same one that those which depend on it, and backfills, go by.
    """
    same = _rows.alias("same")
    latest = (
        select(same.c.id)
        .where(same.c.asset == _rows.c.asset, same.c.partition == _rows.c.partition)
        .where(same.c.state == MaterializationState.COMPLETED)
        .order_by(same.c.finished_at.desc(), same.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return and_(_rows.c.state == MaterializationState.COMPLETED, _rows.c.id == latest)


def is_referred_to(condition: Condition | None = None) -> Condition:
    """Return the condition that an event, or one that stands behind it, needs a materialization.

    Args:
        condition: Which events count; all by default.
    """
    asked = exists().where(_events.c.materialization_id == _rows.c.id)
    if condition is not None:
        asked = asked.where(condition)
    behind = _rows.alias("behind")
    # Unqualified it is the innermost table's: the partial index is found by its very text.
    stands_behind = exists().where(behind.c.after_id == _rows.c.id, schema.QUEUED)
    return or_(asked, stands_behind)
