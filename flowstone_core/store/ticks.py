"""Ticks: commits the events, the checkpoint and the skips of a tick in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeAlias

from sqlalchemy import Connection, Row, bindparam, case, insert, select, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Materialization
from flowstone_core.model.skipped_items import count_skipped, dump_skipped, load_skipped
from flowstone_core.model.tick import NewEvent, ScheduleCommit, Skip, Tick, TickCommit, TickOutcome
from flowstone_core.store import events, overlap_queue, ownership, schedule_records, schema, skips
from flowstone_core.store.checkpoint_columns import (
    GOOD_AT,
    SENSOR_CHECKPOINT,
    tick_parameters,
    tick_values,
)
from flowstone_core.store.column_types import UtcDateTime
from flowstone_core.store.database import Database
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.readable_rows import read

_ticks = schema.ticks
_sensors = schema.sensors

Commit: TypeAlias = TickCommit | ScheduleCommit


@dataclass(frozen=True, slots=True)
class TickResult:
    """The result of one commit.

    Attributes:
        committed: False if the tick was stale; then nothing was written.
        tick: The tick; None if it was not committed.
        events: The new events.
        materializations: The materializations created for the events; other events joined
            pending ones.
        skips: The skips of a schedule.
    """

    committed: bool
    tick: Tick | None = None
    events: tuple[StoredEvent, ...] = ()
    materializations: tuple[Materialization, ...] = ()
    skips: tuple[Skip, ...] = ()


class TickRepository:
    """Ticks; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def commit(
        self, owner: str, commits: Sequence[Commit], assets: AssetGraph, now: datetime
    ) -> list[TickResult]:
        """Commit ticks in one transaction, leaving out stale ones.

        A tick is stale if its sensor or schedule is paused, has another owner, or has another
        version than when the tick began; nothing of a stale tick is written.

        Args:
            owner: The runner that owns the sensors and schedules.
            commits: The ticks; of one source, the earlier first.
            assets: All assets.
            now: The creation time of the events and materializations.

        Returns:
            One result for each commit, in the order given.
        """
        return self._database.write(_commit, owner, commits, assets, now)

    def latest(
        self,
        source: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        skipping: bool = False,
    ) -> list[Tick]:
        """List the latest ticks that were not quiet, the newest first.

        Args:
            source: Only the ticks of this source, such as ``sensor:feed``.
            limit: At most this many.
            before_id: Only ticks with a smaller id: the next page.
            skipping: Only ticks in which a sensor skipped items for good.
        """
        return self._database.read(_latest, source, limit, before_id, skipping=skipping)


@dataclass(slots=True)
class _Entry:
    """A commit that is not stale, without its duplicates."""

    commit: Commit
    new: list[NewEvent] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        return len(self.commit.events) - len(self.new)

    @property
    def skips(self) -> tuple[Skip, ...]:
        return self.commit.skips if isinstance(self.commit, ScheduleCommit) else ()


def _commit(
    connection: Connection,
    owner: str,
    commits: Sequence[Commit],
    assets: AssetGraph,
    now: datetime,
) -> list[TickResult]:
    versions = _lock_and_read_versions(connection, owner, commits)
    entries: dict[int, _Entry] = {}
    for position, item in enumerate(commits):
        if versions.get(item.source) == item.before.version:
            versions[item.source] = item.after.version
            entries[position] = _Entry(item)
    if not entries:
        return [TickResult(committed=False) for _ in commits]
    results = _write(connection, list(entries.values()), assets, now)
    by_position = dict(zip(entries, results, strict=True))
    return [by_position.get(position, _STALE) for position in range(len(commits))]


def _latest(
    connection: Connection,
    source: str | None,
    limit: int,
    before_id: int | None,
    *,
    skipping: bool,
) -> list[Tick]:
    query = select(_ticks).order_by(_ticks.c.id.desc()).limit(limit)
    if source is not None:
        query = query.where(_ticks.c.source == source)
    if before_id is not None:
        query = query.where(_ticks.c.id < before_id)
    if skipping:
        query = query.where(schema.SKIPPING)
    return read(connection.execute(query), _ticks, _tick_of)


_STALE = TickResult(committed=False)


def _lock_and_read_versions(
    connection: Connection, owner: str, commits: Sequence[Commit]
) -> dict[str, int]:
    """Lock the owner's rows; return their versions by source."""
    sensors = {item.sensor: item.source for item in commits if isinstance(item, TickCommit)}
    named = {item.schedule: item.source for item in commits if isinstance(item, ScheduleCommit)}
    return {
        sources[name]: version
        for owned, sources in ((_sensors, sensors), (schema.schedules, named))
        for name, version in ownership.lock(connection, owned, owner, sources).items()
    }


def _write(
    connection: Connection, entries: Sequence[_Entry], assets: AssetGraph, now: datetime
) -> list[TickResult]:
    _drop_duplicates(connection, entries)
    ticks = _insert(connection, entries)
    found = [
        FoundEvent(entry.commit.source, event, tick.id)
        for entry, tick in zip(entries, ticks, strict=True)
        for event in entry.new
    ]
    stored, created = events.commit(connection, found, assets, now)
    unclaimed = {item.id: item for item in overlap_queue.append(connection, found, stored, created)}
    kept = [entry.commit for entry in entries]
    _save_checkpoints(connection, [item for item in kept if isinstance(item, TickCommit)])
    fired = [item for item in kept if isinstance(item, ScheduleCommit)]
    if fired:
        schedule_records.save_checkpoints(connection, fired)
        skips.record(
            connection,
            (
                (entry.commit.schedule, tick.id, entry.commit.skips)
                for entry, tick in zip(entries, ticks, strict=True)
                if isinstance(entry.commit, ScheduleCommit)
            ),
        )
    rest = iter(stored)
    results = []
    for entry, tick in zip(entries, ticks, strict=True):
        own = tuple(islice(rest, len(entry.new)))
        numbers = dict.fromkeys(event.materialization_id for event in own)
        made = tuple(unclaimed.pop(number) for number in numbers if number in unclaimed)
        results.append(TickResult(True, tick, own, made, entry.skips))  # noqa: FBT003
    return results


def _drop_duplicates(connection: Connection, entries: Iterable[_Entry]) -> None:
    keys = {
        (entry.commit.source, event.key): None for entry in entries for event in entry.commit.events
    }
    seen = events.known_keys(connection, keys)
    for entry in entries:
        for event in entry.commit.events:
            pair = (entry.commit.source, event.key)
            if pair not in seen:
                seen.add(pair)
                entry.new.append(event)


def _insert(connection: Connection, entries: Sequence[_Entry]) -> list[Tick]:
    rows = [
        {
            "source": entry.commit.source,
            "outcome": entry.commit.outcome,
            "started_at": entry.commit.started_at,
            "finished_at": entry.commit.finished_at,
            "events": len(entry.new),
            "duplicates": entry.duplicates,
            "error": entry.commit.error,
            **_skipped_columns(entry),
        }
        for entry in entries
    ]
    statement = insert(_ticks).returning(_ticks, sort_by_parameter_order=True)
    return [_tick_of(row) for row in connection.execute(statement, rows)]


def _skipped_columns(entry: _Entry) -> dict[str, object]:
    if isinstance(entry.commit, ScheduleCommit):
        return {"skipped": sum(skip.count for skip in entry.skips), "skipped_items": None}
    items = entry.commit.skipped
    return {"skipped": count_skipped(items), "skipped_items": dump_skipped(items)}


def _save_checkpoints(connection: Connection, commits: Sequence[TickCommit]) -> None:
    if not commits:
        return
    statement = (
        update(_sensors)
        .where(_sensors.c.name == bindparam("sensor"))
        .values(
            **tick_values(_sensors, SENSOR_CHECKPOINT),
            stale_since=case((GOOD_AT.is_(None), _sensors.c.stale_since)),
            quiet_reason=bindparam("reason"),
            quiet_since=bindparam("reason_at", type_=UtcDateTime),
        )
    )
    rows = [
        {
            "sensor": item.sensor,
            **tick_parameters(item, SENSOR_CHECKPOINT),
            "reason": item.reason or None,
            "reason_at": item.finished_at if item.reason else None,
        }
        for item in commits
    ]
    connection.execute(statement, rows)


def _tick_of(row: Row[*tuple[object, ...]]) -> Tick:
    return Tick(
        id=row.id,
        source=row.source,
        outcome=TickOutcome(row.outcome),
        started_at=row.started_at,
        finished_at=row.finished_at,
        events=row.events,
        duplicates=row.duplicates,
        error=row.error,
        skipped=row.skipped,
        skipped_items=load_skipped(row.skipped_items),
    )
