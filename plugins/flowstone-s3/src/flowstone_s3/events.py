"""Events of new objects: grouped by partition, and small enough for the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

from flowstone_core import Event, Partition, encode_partition
from flowstone_s3.errors import PartitionError
from flowstone_s3.listing import S3Object
from flowstone_s3.unreadable import UnreadableKeyError

if TYPE_CHECKING:
    from pydantic import JsonValue

OBJECTS_PER_EVENT = 500
"""Most objects in the payload of one event."""

BYTES_PER_EVENT = 128 * 1024
"""Most bytes of JSON of the objects of one event; FlowStone stores payloads of twice that."""

_SHOWN = 3


@dataclass(slots=True)
class ObjectGroup:
    """Objects of one partition, in the order of their keys."""

    partition: Partition
    objects: list[S3Object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Objects by partition, and those that have none."""

    groups: Sequence[ObjectGroup]
    unreadable: Sequence[tuple[S3Object, UnreadableKeyError]]

    def events(self, bucket: str) -> Iterator[Event]:
        """Yield the events of the groups.

        Args:
            bucket: The bucket's name, for the payloads.
        """
        for group in self.groups:
            for chunk in _chunks(group.objects):
                yield Event(group.partition, payload={"bucket": bucket, "objects": chunk})

    def refuse_unreadable(self) -> None:
        """Refuse objects without a partition.

        Raises:
            PartitionError: If there are any; the message names the first three.
        """
        if not self.unreadable:
            return
        named = [f"{item.key!r:.300}: {error}" for item, error in self.unreadable[:_SHOWN]]
        more = len(self.unreadable) - len(named)
        raise PartitionError(
            f"no partition for new objects: {'; '.join(named)}{f'; and {more} more' * bool(more)}",
            hint="set partition_pattern or partition_fn to find their partition, partition = "
            "${date} to use the date of the poll, or leave them out with prefix, suffix, glob or "
            "unreadable_keys = skip; until then no object is recorded",
        )


def group_objects(
    objects: Iterable[S3Object], partition_of: Callable[[str], Partition | None]
) -> Grouping:
    """Group objects by their partitions.

    The same objects, in any order, give the same groups in the same order.

    Args:
        objects: The new objects.
        partition_of: Maps a key to its partition, or to None to leave the object out; raises
            UnreadableKeyError for a key without a partition.
    """
    groups: dict[str, ObjectGroup] = {}
    unreadable: list[tuple[S3Object, UnreadableKeyError]] = []
    for item in sorted(objects, key=lambda item: item.key):
        try:
            partition = partition_of(item.key)
        except UnreadableKeyError as error:
            unreadable.append((item, error))
            continue
        if partition is not None:
            text = encode_partition(partition)
            groups.setdefault(text, ObjectGroup(partition)).objects.append(item)
    return Grouping(list(groups.values()), unreadable)


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
