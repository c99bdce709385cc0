"""Events, and the three outcomes that a poll returns: triggered, not triggered, failed.

Plain values: `sensor_decision.decide` checks them against the pipeline.
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
    """An event: the partition to materialize, and the reason.

    Attributes:
        partition: The partition of the asset.
        key: Identifies the event for its source: an event with a key that the source has had is
            suppressed as a duplicate. Without a key, a repeated tick finds the same event, and a
            later tick finds another one.
        asset: Name of the asset; None for the asset that the sensor is configured for.
        payload: Small JSON for the asset function: the S3 keys, the changed value, ...
    """

    partition: Partition
    key: str | None = None
    asset: str | None = None
    payload: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A committed event.

    Attributes:
        id: Ascending number.
        source: Origin of the event: ``sensor:NAME``, ``asset:NAME`` (which it follows), ``manual``.
        key: Unique for the source.
        partition: The encoded partition.
        created_at: Time of the commit, aware, in UTC.
        materialization_id: The materialization that the event requested.
        tick_id: The tick that found the event; None if no tick did.
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
    """Outcome of a poll that found something.

    Args:
        events: One partition, one `Event`, or an iterable of either. A tuple is one partition
            unless it is empty or an `Event` is in it.
        state: The new state.

    Attributes:
        events: The events, in order; may be empty.
        state: The new state.

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
    """Outcome of a poll that found nothing.

    Attributes:
        state: The new state; usually the one that was passed.
    """

    state: S


@dataclass(frozen=True, slots=True)
class PollFailed(Generic[S]):
    """Outcome of a failed poll; raising an exception does the same.

    Attributes:
        error: The error.
        state: The new state; usually the one that was passed.
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
    # Bytes and mappings are iterable, but are not collections of partitions.
    return isinstance(value, str | bytes | Mapping)


def _as_event(item: object) -> Event:
    # An invalid partition is kept: `decide` reports the problem when it encodes the value.
    return item if isinstance(item, Event) else Event(item)  # type: ignore[arg-type]
