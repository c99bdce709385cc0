"""Events, and the three outcomes that a poll returns: triggered, not triggered, failed.

Plain values: `sensor_decision.decide` checks them against the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
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


@dataclass(frozen=True, slots=True)
class Skipped:
    """Items of an external source that a sensor leaves out for good.

    A sensor reports each item once, in the poll that gives the item up: the tick is recorded with
    the count and the example, and ``explain`` and ``sensors show`` show them.

    Attributes:
        reason: The cause, the same text for all items with this cause: ``no date in the key``.
        count: Number of items; at least 1.
        example: One of them, such as its key.
    """

    reason: str
    count: int = 1
    example: str = ""

    def __str__(self) -> str:
        example = f", such as {self.example}" if self.example else ""
        return f"{self.reason} ({self.count:,}{example})"


EventLike: TypeAlias = "Event | Partition"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Triggered(Generic[S]):
    """Outcome of a poll that found something.

    Args:
        events: One partition, one `Event`, or an iterable of either. A tuple is one partition
            unless it is empty or an `Event` is in it.
        state: The new state.
        skipped: Items that are left out for good: one `Skipped`, or an iterable of them.

    Attributes:
        events: The events, in order; may be empty.
        state: The new state.
        skipped: Items that are left out for good.

    Example:
        >>> Triggered("tenant-7", state=None).events
        (Event(partition='tenant-7', key=None, asset=None, payload=None),)
    """

    events: tuple[Event, ...]
    state: S
    skipped: tuple[Skipped, ...]

    def __init__(
        self,
        events: EventLike | Iterable[EventLike],
        state: S,
        skipped: Skipped | Iterable[Skipped] = (),
    ) -> None:
        object.__setattr__(self, "events", _as_events(events))
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "skipped", _as_skipped(skipped))

    def __repr__(self) -> str:
        return _shown(self, {"events", "state"})


@dataclass(frozen=True, slots=True, init=False, repr=False)
class NotTriggered(Generic[S]):
    """Outcome of a poll that found nothing.

    Args:
        state: The new state; usually the one that was passed.
        skipped: Items that are left out for good: one `Skipped`, or an iterable of them.
        reason: The reason why nothing fires, such as ``the newest file is still written``.

    Attributes:
        state: The new state.
        skipped: Items that are left out for good.
        reason: The reason why nothing fires; may be empty.
    """

    state: S
    skipped: tuple[Skipped, ...]
    reason: str

    def __init__(
        self, state: S, skipped: Skipped | Iterable[Skipped] = (), reason: str = ""
    ) -> None:
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "skipped", _as_skipped(skipped))
        object.__setattr__(self, "reason", reason)

    def __repr__(self) -> str:
        return _shown(self, {"state"})


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


def _as_skipped(skipped: object) -> tuple[object, ...]:
    # An invalid value is kept: `decide` reports the problem.
    if isinstance(skipped, Iterable) and not isinstance(skipped, str | bytes | Mapping):
        return tuple(skipped)
    return (skipped,)


def _shown(outcome: Triggered[S] | NotTriggered[S], always: set[str]) -> str:
    """Return an outcome's ``repr``, without the optional fields that are empty."""
    values = {each.name: getattr(outcome, each.name) for each in fields(outcome)}
    parts = [f"{name}={value!r}" for name, value in values.items() if name in always or value]
    return f"{type(outcome).__name__}({', '.join(parts)})"
