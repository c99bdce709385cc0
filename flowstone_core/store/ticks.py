"""Ticks: commits the events, the checkpoint and the skips of a tick in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import TypeAlias

from sqlalchemy import Connection, Row, case, select

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.event import Skipped, StoredEvent
from flowstone_core.model.materialization import Materialization
from flowstone_core.model.skipped_items import count_skipped, dump_skipped, load_skipped
from flowstone_core.model.tick import NewEvent, ScheduleCommit, Skip, Tick, TickCommit, TickOutcome
from flowstone_core.store import events, overlap_queue, ownership, schedule_records, schema, skips
from flowstone_core.store.checkpoint_columns import (
    SENSOR_CHECKPOINT,
    checkpoint_rows,
    checkpoint_update,
)
from flowstone_core.store.database import Database
from flowstone_core.store.events import FoundEvent
from flowstone_core.store.readable_rows import read
from flowstone_core.store.row_writes import NumberedRowInsert

_ticks = schema.ticks
_sensors = schema.sensors

_INSERT = NumberedRowInsert(
    *(_ticks.c[field.name] for field in fields(Tick) if field.name != "id"),
)
_UPDATE_SENSORS = checkpoint_update(
    _sensors,
    SENSOR_CHECKPOINT,
    ("quiet_reason", "quiet_since"),
    # A good tick ends the time without one.
    lambda new: {"stale_since": case((new["last_good_at"].is_(None), _sensors.c.stale_since))},
)

Commit: TypeAlias = TickCommit | ScheduleCommit
_Values: TypeAlias = tuple[
    str, TickOutcome, datetime, datetime, int, int, str | None, int, tuple[Skipped, ...]
]


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
        results = self._database.write(_commit, owner, commits, assets, now)
        if any(result.events for result in results):
            self._database.notify()
        return results

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
    source: str
    new: list[NewEvent] = field(default_factory=list)

    @property
    def skips(self) -> tuple[Skip, ...]:
        return self.commit.skips if isinstance(self.commit, ScheduleCommit) else ()

    def values(self) -> _Values:
        """Return the values of the tick, without its number."""
        item, new = self.commit, len(self.new)
        skipped = 0
        items: tuple[Skipped, ...] = ()
        if isinstance(item, ScheduleCommit):
            if item.skips:
                skipped = sum(skip.count for skip in item.skips)
        elif item.skipped:
            skipped, items = count_skipped(item.skipped), item.skipped
        return (
            self.source,
            item.outcome,
            item.started_at,
            item.finished_at,
            new,
            len(item.events) - new,
            item.error,
            skipped,
            items,
        )


def _commit(
    connection: Connection,
    owner: str,
    commits: Sequence[Commit],
    assets: AssetGraph,
    now: datetime,
) -> list[TickResult]:
    sources = [item.source for item in commits]
    versions = _lock_and_read_versions(connection, owner, commits, sources)
    entries: dict[int, _Entry] = {}
    for position, (item, source) in enumerate(zip(commits, sources, strict=True)):
        if versions.get(source) == item.before.version:
            versions[source] = item.after.version
            entries[position] = _Entry(item, source)
    if not entries:
        return [_STALE] * len(commits)
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
    connection: Connection, owner: str, commits: Sequence[Commit], sources: Sequence[str]
) -> dict[str, int]:
    """Lock the owner's rows; return their versions by source."""
    sensors: dict[str, str] = {}
    named: dict[str, str] = {}
    for item, source in zip(commits, sources, strict=True):
        if isinstance(item, ScheduleCommit):
            named[item.schedule] = source
        else:
            sensors[item.sensor] = source
    return {
        own[name]: version
        for owned, own in ((_sensors, sensors), (schema.schedules, named))
        for name, version in ownership.lock(connection, owned, owner, own).items()
    }


def _write(
    connection: Connection, entries: Sequence[_Entry], assets: AssetGraph, now: datetime
) -> list[TickResult]:
    _drop_duplicates(connection, entries)
    ticks = _insert(connection, entries)
    found = [
        FoundEvent(entry.source, event, tick.id)
        for entry, tick in zip(entries, ticks, strict=True)
        for event in entry.new
    ]
    stored, created = events.commit(connection, found, assets, now)
    created = overlap_queue.append(connection, found, stored, created)
    kept = [entry.commit for entry in entries]
    _save_checkpoints(connection, [item for item in kept if isinstance(item, TickCommit)])
    fired = [item for item in kept if isinstance(item, ScheduleCommit)]
    schedule_records.save_checkpoints(connection, fired)
    skipped = (
        (entry.commit.schedule, tick.id, entry.commit.skips)
        for entry, tick in zip(entries, ticks, strict=True)
        if isinstance(entry.commit, ScheduleCommit)
    )
    skips.record(connection, skipped)
    return list(_results(entries, ticks, stored, created))


def _results(
    entries: Sequence[_Entry],
    ticks: Sequence[Tick],
    stored: Sequence[StoredEvent],
    created: Sequence[Materialization],
) -> Iterator[TickResult]:
    rest = iter(stored)
    unclaimed = {item.id: item for item in created}
    for entry, tick in zip(entries, ticks, strict=True):
        if not entry.new:
            yield TickResult(True, tick, skips=entry.skips)  # noqa: FBT003
            continue
        own = tuple(islice(rest, len(entry.new)))
        numbers = dict.fromkeys(event.materialization_id for event in own)
        made = tuple(unclaimed.pop(number) for number in numbers if number in unclaimed)
        yield TickResult(True, tick, own, made, entry.skips)  # noqa: FBT003


def _drop_duplicates(connection: Connection, entries: Iterable[_Entry]) -> None:
    keys = {(entry.source, event.key): None for entry in entries for event in entry.commit.events}
    seen = events.known_keys(connection, keys)
    for entry in entries:
        for event in entry.commit.events:
            pair = (entry.source, event.key)
            if pair not in seen:
                seen.add(pair)
                entry.new.append(event)


def _insert(connection: Connection, entries: Sequence[_Entry]) -> list[Tick]:
    values = [entry.values() for entry in entries]
    rows = [(each[0], each[1].value, *each[2:8], dump_skipped(each[8])) for each in values]
    numbers = _INSERT(connection, rows)
    return [Tick(number, *each) for number, each in zip(numbers, values, strict=True)]


def _save_checkpoints(connection: Connection, commits: Sequence[TickCommit]) -> None:
    rows = checkpoint_rows(commits, attrgetter("sensor"), SENSOR_CHECKPOINT, _quiet_columns)
    _UPDATE_SENSORS(connection, rows)


def _quiet_columns(item: TickCommit) -> tuple[str | None, datetime | None]:
    return (item.reason, item.finished_at) if item.reason else (None, None)


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
