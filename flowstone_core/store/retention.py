"""Retention policy: which rows are old, and which old rows are kept."""

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
"""The prefix of the source of a sensor's events."""

_rows = schema.materializations
_events = schema.events
_ticks = schema.ticks
_backfills = schema.backfills
_runners = schema.runners

Condition: TypeAlias = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class KeyRetention:
    """The retention of event keys: keys of events since these instants are remembered.

    Attributes:
        own: By source, for sensors with their own retention.
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
    """The retention policy at one instant.

    Attributes:
        before: Rows that ended before this instant are old.
        keys: The retention of event keys.
        asking: The sources of backfills that are not finished: by their events they know what
            they asked for, and do not ask again.
    """

    before: datetime
    keys: KeyRetention
    unfinished: Sequence[str]

    def held(self) -> Condition:
        """Return the condition that an old event is kept for its key."""
        return and_(_events.c.created_at < self.before, self.keys.holds())

    def stays(self) -> Condition:
        """Return the condition that an event of an old materialization is kept."""
        return or_(
            _events.c.created_at >= self.before,
            self.keys.holds(),
            _events.c.source.in_(self.unfinished),
        )

    def ended(self) -> Condition:
        """Return the condition that a materialization is old."""
        return and_(_rows.c.finished_at.is_not(None), _rows.c.finished_at < self.before)

    def frees_tick(self) -> Condition:
        """Return the condition that no kept event refers to a tick."""
        stays = or_(self.stays(), not_(self.ended()))
        same = _events.c.materialization_id == _rows.c.id
        return not_(exists().where(_events.c.tick_id == _ticks.c.id, same, stays))

    def is_gone(self) -> Condition:
        """Return the condition that a runner's lease expired long ago, and that it owns nothing."""
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


def unfinished_backfills(connection: Connection) -> list[str]:
    """Return the sources of the unfinished backfills."""
    query = select(_backfills.c.id).where(schema.UNFINISHED)
    return [f"backfill:{number}" for number in connection.scalars(query)]


def is_forgettable(source: str, before: datetime) -> Condition:
    """Return the condition that the retention of an event's key has ended."""
    # SQLite finds the partial index by the text of its condition.
    return and_(_events.c.source == source, schema.REMEMBERED, _events.c.created_at < before)


def is_latest() -> Condition:
    """Return the condition that a materialization is the latest completed one of its partition.

    Dependents and backfills use the same one.
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
    """Return the condition that an event, or a successor in the queue, needs a materialization.

    Args:
        condition: Which events count; all by default.
    """
    asked = exists().where(_events.c.materialization_id == _rows.c.id)
    if condition is not None:
        asked = asked.where(condition)
    behind = _rows.alias("behind")
    # Unqualified, so it applies to the innermost table: SQLite finds the index by this text.
    stands_behind = exists().where(behind.c.after_id == _rows.c.id, schema.QUEUED)
    return or_(asked, stands_behind)
