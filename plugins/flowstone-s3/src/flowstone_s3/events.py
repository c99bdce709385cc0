"""Events of new objects: grouped by partition, and small enough for the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

from flowstone_core import Event, Partition, RetryLater, SensorBroken, encode_partition
from flowstone_s3.errors import PartitionError
from flowstone_s3.listing import S3Object

if TYPE_CHECKING:
    from pydantic import JsonValue

OBJECTS_PER_EVENT = 500
"""Most objects in the payload of one event."""

BYTES_PER_EVENT = 128 * 1024
"""Most bytes of JSON of the objects of one event; FlowStone stores payloads of twice that."""

_SHOWN = 3


@dataclass(slots=True)
class _Group:
    partition: Partition
    objects: list[S3Object] = field(default_factory=list)


def object_events(
    bucket: str, objects: Iterable[S3Object], partition_of: Callable[[str], Partition | None]
) -> Iterator[Event]:
    """Yield the events of one poll.

    The same objects, in any order, give the same events in the same order.

    Args:
        bucket: The bucket's name, for the payloads.
        objects: The new objects.
        partition_of: Maps a key to its partition, or to None to leave the object out; raises
            ValueError, or any other exception, for a key without a partition.

    Raises:
        PartitionError: If an object has no partition; the message names the first three.
        RetryLater: If ``partition_of`` raises it.
        SensorBroken: If ``partition_of`` raises it.
    """
    for group in _grouped(objects, partition_of):
        for chunk in _chunks(group.objects):
            yield Event(group.partition, payload={"bucket": bucket, "objects": chunk})


def _grouped(
    objects: Iterable[S3Object], partition_of: Callable[[str], Partition | None]
) -> Iterable[_Group]:
    groups: dict[str, _Group] = {}
    unassigned: list[str] = []
    for item in sorted(objects, key=lambda item: item.key):
        try:
            partition = partition_of(item.key)
            if partition is not None:
                text = encode_partition(partition)
                groups.setdefault(text, _Group(partition)).objects.append(item)
        except (RetryLater, SensorBroken):
            raise
        except Exception as error:  # noqa: BLE001 - a partition_fn may raise anything; all are reported
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            unassigned.append(f"{item.key!r:.300}: {kind}{error}")
    if unassigned:
        more = f"; and {len(unassigned) - _SHOWN} more" if len(unassigned) > _SHOWN else ""
        raise PartitionError(
            f"no partition for new objects: {'; '.join(unassigned[:_SHOWN])}{more}",
            hint="set partition_pattern or partition_fn to find their partition, or leave them "
            "out with prefix, suffix or glob; until then no object is recorded",
        )
    return groups.values()


def _chunks(objects: Iterable[S3Object]) -> Iterator[list[JsonValue]]:
    chunk: list[JsonValue] = []
    size = 0
    for item in objects:
        entry = _entry(item)
        weight = len(json.dumps(entry, ensure_ascii=False).encode())
        if chunk and (len(chunk) == OBJECTS_PER_EVENT or size + weight > BYTES_PER_EVENT):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += weight
    yield chunk


def _entry(item: S3Object) -> dict[str, JsonValue]:
    return {
        "key": item.key,
        "etag": item.etag,
        "size": item.size,
        "last_modified": item.last_modified.astimezone(UTC).isoformat(),
    }
