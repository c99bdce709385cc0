from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from flowstone_s3.errors import PartitionError
from flowstone_s3.events import BYTES_PER_EVENT, OBJECTS_PER_EVENT, group_objects
from flowstone_s3.listing import S3Object
from flowstone_s3.unreadable import UnreadableKeyError

from flowstone_core import Event, Partition
from flowstone_core.model.json_document import PAYLOAD_LIMIT, dump_document

AT = datetime(2025, 1, 15, 12, tzinfo=timezone(timedelta(hours=2)))


def item(key: str) -> S3Object:
    return S3Object(key, "e" * 32, 7, AT)


def first_letter(key: str) -> Partition | None:
    return None if key.startswith("-") else key[0]


def object_events(
    bucket: str, objects: Iterable[S3Object], partition_of: Callable[[str], Partition | None]
) -> Iterator[Event]:
    return group_objects(objects, partition_of).events(bucket)


def test_events_group_objects_by_partition() -> None:
    events = list(object_events("shop", map(item, ["b1", "a2", "-x", "a1"]), first_letter))
    assert [event.partition for event in events] == ["a", "b"]
    assert events[1].payload == {
        "bucket": "shop",
        "objects": [
            {
                "key": "b1",
                "etag": "e" * 32,
                "size": 7,
                "last_modified": "2025-01-15T10:00:00+00:00",
            }
        ],
    }
    assert [entry["key"] for entry in events[0].payload["objects"]] == ["a1", "a2"]
    assert events[0].key is None


def test_events_do_not_depend_on_object_order() -> None:
    objects = [item(f"{letter}{number}") for letter in "cab" for number in range(30)]
    shuffled = random.Random(7).sample(objects, len(objects))  # noqa: S311 - no secret
    assert list(object_events("shop", objects, first_letter)) == list(
        object_events("shop", shuffled, first_letter)
    )


def test_events_of_no_objects_are_none() -> None:
    assert list(object_events("shop", [], first_letter)) == []
    assert list(object_events("shop", [item("-")], first_letter)) == []


def test_events_split_many_objects_of_a_partition() -> None:
    objects = [item(f"a{number:04}") for number in range(2 * OBJECTS_PER_EVENT + 1)]
    events = list(object_events("shop", objects, first_letter))
    assert [len(event.payload["objects"]) for event in events] == [500, 500, 1]
    assert [entry["key"] for event in events for entry in event.payload["objects"]] == [
        found.key for found in objects
    ]


@pytest.mark.parametrize("letter", ["é", "\x01", '"', "😀"])
def test_events_of_longest_keys_stay_below_payload_limit(letter: str) -> None:
    long = letter * (1020 // len(letter.encode()))
    objects = [item(f"a{number:03}{long}") for number in range(OBJECTS_PER_EVENT)]
    events = list(object_events("shop" * 16, objects, first_letter))
    sizes = [
        len(dump_document(event.payload, what="the payload", limit=PAYLOAD_LIMIT).encode())
        for event in events
    ]
    assert BYTES_PER_EVENT // 2 < max(sizes) < BYTES_PER_EVENT + 2_000
    assert sum(len(event.payload["objects"]) for event in events) == len(objects)


def test_events_equal_partitions_are_merged() -> None:
    zones = [UTC, timezone(timedelta(hours=2))]
    said = {
        key: datetime(2025, 1, 15, 12, tzinfo=UTC).astimezone(zone)
        for key, zone in zip("ab", zones, strict=True)
    }
    events = list(object_events("shop", map(item, "ab"), said.__getitem__))
    assert len(events) == 1


def test_events_name_all_objects_without_partition() -> None:
    def by_date(key: str) -> date:
        if key != "a":
            raise UnreadableKeyError("no date", key * 2)
        return date(2025, 1, 15)

    found = group_objects(map(item, "abcde"), by_date)
    assert [item.key for item, _ in found.unreadable] == list("bcde")
    assert [event.partition for event in found.events("shop")] == [date(2025, 1, 15)]
    with pytest.raises(PartitionError) as caught:
        found.refuse_unreadable()
    text = str(caught.value)
    assert "'b': no date: bb; 'c': no date: cc; 'd': no date: dd; and 1 more (" in text
    for way_out in ("partition_pattern", "partition_fn", "partition = ${date}", "suffix", "glob"):
        assert way_out in text
    group_objects([item("a")], by_date).refuse_unreadable()


def test_events_payloads_are_json() -> None:
    (event,) = object_events("shop", [item("a")], first_letter)
    assert json.loads(json.dumps(event.payload)) == event.payload
