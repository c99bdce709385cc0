"""Survey: all that a runner reads each second of other runners, and of what it owns.

Two statements in one transaction, each by an index. Their cost grows with the number of runners,
and of sensors and schedules that have no owner, not with the number of those that have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Table,
    Text,
    case,
    cast,
    false,
    func,
    literal,
    null,
    select,
    union_all,
)

from flowstone_core.store import peers, schema
from flowstone_core.store.peers import Peer

_SENSORS, _SCHEDULES, _SENSOR_COUNT, _SCHEDULE_COUNT = range(4)


@dataclass(frozen=True, slots=True)
class Ownership:
    """Sensors, or schedules, as one runner finds them.

    Attributes:
        count: The number of those that the runner owns.
        free: Those that have no owner and are not paused. By name: the asset of a schedule that
            nothing declares, else None.
        paused: The names of those that are paused.
    """

    count: int
    free: Mapping[str, str | None]
    paused: frozenset[str]


@dataclass(frozen=True, slots=True)
class Survey:
    """All that a runner reads each second: its peers, and what is owned or free.

    Attributes:
        peers: The runners that have not stopped, the one that looks among them.
        sensors: The sensors.
        schedules: The schedules.
    """

    peers: tuple[Peer, ...]
    sensors: Ownership
    schedules: Ownership


def survey(connection: Connection, runner_id: str, now: datetime) -> Survey:
    """Survey the store once, for a runner."""
    found: list[dict[str, str | None]] = [{}, {}]
    paused: list[set[str]] = [set(), set()]
    counts = [0, 0]
    for kind, text, asset, is_paused in connection.execute(_owned(runner_id)):
        if kind >= _SENSOR_COUNT:
            counts[kind - _SENSOR_COUNT] = int(text)
        elif is_paused:
            paused[kind].add(text)
        else:
            found[kind][text] = asset
    sensors, schedules = (
        Ownership(counts[kind], found[kind], frozenset(paused[kind]))
        for kind in (_SENSORS, _SCHEDULES)
    )
    return Survey(peers.peers(connection, now), sensors, schedules)


def _owned(runner_id: str) -> CompoundSelect[int, str, str | None, bool]:
    undeclared = case((schema.schedules.c.declared.is_(None), schema.schedules.c.asset))
    return union_all(
        _unowned(_SENSORS, schema.sensors, cast(null(), Text)),
        _unowned(_SCHEDULES, schema.schedules, undeclared),
        _count(_SENSOR_COUNT, schema.sensors, runner_id),
        _count(_SCHEDULE_COUNT, schema.schedules, runner_id),
    )


def _unowned(
    kind: int, owned: Table, asset: ColumnElement[str | None]
) -> Select[int, str, str | None, bool]:
    query = select(literal(kind), cast(owned.c.name, Text), cast(asset, Text), owned.c.paused)
    return query.where(owned.c.owner.is_(None))


def _count(kind: int, owned: Table, runner_id: str) -> Select[int, str, str | None, bool]:
    count = cast(func.count(), Text)
    query = select(literal(kind), count, cast(null(), Text), false())
    return query.select_from(owned).where(owned.c.owner == runner_id)
