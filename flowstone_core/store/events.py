"""Events: one for each (source, key), each linked to the materialization it requested."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, select, update

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import JsonObject, load_object
from flowstone_core.model.materialization import Materialization
from flowstone_core.model.tick import NewEvent
from flowstone_core.store import enqueueing, schema
from flowstone_core.store.database import Database
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.readable_rows import UnreadableRowError, log_once, read, read_one
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import NumberedRowInsert

_events = schema.events

_KEYS = row_set("keys", source=_events.c.source.type, key=_events.c.key.type)
_FIND_KEYS = HotStatement(
    select(_events.c.source, _events.c.key)
    .select_from(matching(_KEYS, _events))
    .where(schema.REMEMBERED)
)
_INSERT = NumberedRowInsert(
    *(_events.c[name] for name in ("source", "key", "asset", "partition", "payload")),
    *(_events.c[name] for name in ("created_at", "materialization_id", "tick_id")),
)
_NUMBERS = row_set("numbers", materialization_id=_events.c.materialization_id.type)
_OF_MATERIALIZATIONS = (
    select(_events).select_from(matching(_NUMBERS, _events)).order_by(_events.c.id)
)


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event with a key that is new to its source, ready to be inserted."""

    source: str
    event: NewEvent
    tick_id: int | None = None


class EventRepository:
    """Events; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(
        self,
        source: str | None = None,
        asset: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[StoredEvent]:
        """List the latest events, the newest first.

        Args:
            source: Only the events of this source, such as ``sensor:feed``.
            asset: Only the events for this asset.
            limit: At most this many.
            before_id: Only events with a smaller id: the next page.
        """
        return self._database.read(_latest, source, asset, limit, before_id)


def known_keys(connection: Connection, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the (source, key) pairs that exist.

    Valid until the end of the transaction only if the caller holds a lock on the source: the row
    of a sensor, or of a materialization.
    """
    if not keys:
        return set()
    return {(source, key) for source, key in _FIND_KEYS(connection, keys=list(keys))}


def with_key(connection: Connection, source: str, key: str) -> StoredEvent | None:
    """Return the event of a source with this key, if there is one."""
    query = select(_events).where(
        _events.c.source == source, _events.c.key == key, schema.REMEMBERED
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _event_of(row)


def commit(
    connection: Connection, found: Sequence[FoundEvent], assets: AssetGraph, now: datetime
) -> tuple[list[StoredEvent], list[Materialization]]:
    """Insert new events, each with a pending materialization.

    Returns:
        The events in the order given, and the materializations created for them.
    """
    if not found:
        return [], []
    wanted = [(item.event.asset, item.event.partition) for item in found]
    numbers, created = enqueueing.enqueue(connection, wanted, assets, now)
    made = [numbers[slot] for slot in wanted]
    rows = []
    for item, number in zip(found, made, strict=True):
        event = item.event
        slot = event.asset, event.partition
        rows.append((item.source, event.key, *slot, event.payload, now, number, item.tick_id))
    given = zip(found, _INSERT(connection, rows), made, strict=True)
    return [_stored(item, own, number, now) for item, own, number in given], created


def _latest(
    connection: Connection,
    source: str | None,
    asset: str | None,
    limit: int,
    before_id: int | None,
) -> list[StoredEvent]:
    query = select(_events).order_by(_events.c.id.desc()).limit(limit)
    if source is not None:
        query = query.where(_events.c.source == source)
    if asset is not None:
        query = query.where(_events.c.asset == asset)
    if before_id is not None:
        query = query.where(_events.c.id < before_id)
    return read(connection.execute(query), _events, _event_of)


def of_materializations(
    connection: Connection,
    numbers: Iterable[int],
    unreadable: dict[int, UnreadableRowError] | None = None,
) -> dict[int, list[StoredEvent]]:
    """Return the events that requested materializations, the oldest first, by number.

    Args:
        connection: A transaction.
        numbers: The materializations.
        unreadable: Filled with an error of each materialization with an event that cannot be
            read; such an event is left out.
    """
    found: dict[int, list[StoredEvent]] = {number: [] for number in numbers}
    given = {"numbers": [(number,) for number in found]}
    for row in connection.execute(_OF_MATERIALIZATIONS, given):
        try:
            found[row.materialization_id].append(read_one(row, _events, _event_of))
        except UnreadableRowError as error:
            log_once(error)
            if unreadable is not None:
                unreadable[row.materialization_id] = error
    return found


def forget(connection: Connection, source: str) -> None:
    """Forget the keys of a source, so that they may occur again; its events are kept."""
    connection.execute(
        update(_events).where(_events.c.source == source, schema.REMEMBERED).values(forgotten=True)
    )


def _stored(item: FoundEvent, number: int, materialization_id: int, now: datetime) -> StoredEvent:
    return StoredEvent(
        id=number,
        source=item.source,
        key=item.event.key,
        asset=item.event.asset,
        partition=item.event.partition,
        created_at=now,
        payload=_payload(item.event.payload),
        materialization_id=materialization_id,
        tick_id=item.tick_id,
    )


def _payload(text: str | None) -> JsonObject | None:
    return None if text is None else load_object(text)


def _event_of(row: Row[*tuple[object, ...]]) -> StoredEvent:
    return StoredEvent(
        id=row.id,
        source=row.source,
        key=row.key,
        asset=row.asset,
        partition=row.partition,
        created_at=row.created_at,
        payload=_payload(row.payload),
        materialization_id=row.materialization_id,
        tick_id=row.tick_id,
    )
