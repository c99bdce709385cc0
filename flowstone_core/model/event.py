"""What a poll found: events, and the three outcomes that carry them.

These are values. Nothing here is checked against the pipeline or the store; that is `tick.decide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from flowstone_core.model.json_document import Json, JsonObject
from flowstone_core.model.partition import Partition

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Event:
    """This partition should be made, because of this.

    Attributes:
        partition: Which slice of the asset.
        key: Names what was seen, uniquely for its source: an event whose key the source has
            already had is suppressed as a duplicate. Without one the event is the tick's own:
            a replay of the same tick is the same event, a later tick is another one.
        asset: Which asset; None means the asset that the sensor is configured for.
        payload: Small JSON for the asset function: the S3 keys, the changed value, ...
    """

    partition: Partition
    key: str | None = None
    asset: str | None = None
    payload: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was committed.

    Attributes:
        id: Counts up.
        source: What it came from: ``sensor:NAME``, ``asset:NAME`` (which it follows), ``manual``.
        key: Unique for the source.
        partition: The partition's text.
        created_at: When it was committed, aware, in UTC.
        materialization_id: The materialization that it asked for.
        tick_id: The tick that found it; None when no tick did.
    """

    id: int
    source: str
    key: str
    asset: str
    partition: str
    created_at: datetime
    payload: JsonObject | None = None
    materialization_id: int | None = None
    tick_id: int | None = None


EventLike: TypeAlias = "Event | Partition"


@dataclass(frozen=True, slots=True, init=False)
class Triggered(Generic[S]):
    """The poll found something.

    Args:
        events: One partition, one `Event`, or an iterable of either. A tuple is one partition
            unless it is empty or an `Event` is in it.
        state: What the sensor remembers from here on.

    Attributes:
        events: What was found, in order; it may be nothing.
        state: As it was given.

    Example:
        >>> Triggered("tenant-7", state=None).events
        (Event(partition='tenant-7', key=None, asset=None, payload=None),)
    """

    events: tuple[Event, ...]
    state: S

    def __init__(self, events: EventLike | Iterable[EventLike], state: S) -> None:
        object.__setattr__(self, "events", _as_events(events))
        object.__setattr__(self, "state", state)


@dataclass(frozen=True, slots=True)
class NotTriggered(Generic[S]):
    """The poll found nothing.

    Attributes:
        state: What the sensor remembers from here on; usually what it was given.
    """

    state: S


@dataclass(frozen=True, slots=True)
class PollFailed(Generic[S]):
    """The poll failed in a way that the sensor understands; raising does the same.

    Attributes:
        error: What went wrong.
        state: What the sensor remembers from here on; usually what it was given.
    """

    error: BaseException | str
    state: S


Outcome: TypeAlias = Triggered[S] | NotTriggered[S] | PollFailed[S]


def _as_events(events: object) -> tuple[Event, ...]:
    if isinstance(events, Iterable) and not _is_partition(events):
        return tuple(_as_event(item) for item in events)
    return (_as_event(events),)


def _is_partition(value: Iterable[object]) -> bool:
    if isinstance(value, tuple):
        return bool(value) and not any(isinstance(part, Event) for part in value)
    # Bytes and mappings can be iterated, but nobody means their items.
    return isinstance(value, str | bytes | Mapping)


def _as_event(item: object) -> Event:
    # What is no partition stays what it is: encoding it, in `decide`, says what is wrong with it.
    return item if isinstance(item, Event) else Event(item)  # type: ignore[arg-type]
