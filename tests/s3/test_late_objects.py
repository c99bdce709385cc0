"""Objects that appear with a time before the window: known by their number, and told once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.late_objects import NEWEST, REASON
from flowstone_s3.seen_objects import DetectionRules, SeenObjects
from flowstone_s3.state import empty_state

from flowstone_core import NotTriggered, SensorBroken, Skipped, Triggered
from tests.s3.seen_support import NOW, item

HOUR = timedelta(hours=1)
Listing = dict[str, int]


class Memory:
    """Polls of listings (the minute of each key), with a window of an hour."""

    def __init__(self, listing: Listing) -> None:
        self.state = empty_state()
        self.poll(listing)

    def poll(self, listing: Listing, **rules: Any) -> list[Skipped]:
        memory = SeenObjects(
            json.loads(json.dumps(self.state)), NOW, DetectionRules(**{"window": HOUR} | rules)
        )
        for key, minute in listing.items():
            memory.observe(item(key, "e", 60 * minute))
        told = memory.late()
        self.state = memory.state()
        return told


def test_window_late_object_is_told_once_by_name() -> None:
    memory = Memory({"a": 0, "b": 120})
    assert memory.poll({"a": 0, "b": 120}) == []
    late = {"a": 0, "late": 59, "b": 120}
    assert memory.poll(late) == [Skipped(REASON, 1, "late")]
    assert memory.poll(late) == []
    state = memory.state
    assert memory.poll(late | {"later": 1, "c": 121}) == [Skipped(REASON, 1, "later")]
    assert memory.poll(late | {"later": 1, "c": 121}) == []
    assert memory.state != state


def test_window_quiet_poll_keeps_the_state() -> None:
    listing = {f"{number:03}": number for number in range(300)}
    memory = Memory(listing)
    seen = SeenObjects(memory.state, NOW, DetectionRules(window=HOUR))
    for key, minute in listing.items():
        seen.observe(item(key, "e", 60 * minute))
    assert seen.state() is memory.state


def test_window_late_object_among_many_is_counted() -> None:
    listing = {f"{number:03}": number for number in range(300)}
    memory = Memory(listing)
    assert memory.poll(listing | {"early": 3}) == [Skipped(REASON, 1, "")]
    more = listing | {"early": 3, "x": 238, "y": 237, "z": 1}
    assert memory.poll(more) == [Skipped(REASON, 3, "x")]
    assert memory.poll(more) == []


def test_window_deleted_object_is_not_late() -> None:
    listing = {f"{number:03}": number for number in range(300)}
    memory = Memory(listing)
    for key in ("000", "238"):
        del listing[key]
        assert memory.poll(listing) == []
    listing["new"] = 238
    assert memory.poll(listing) == [Skipped(REASON, 1, "new")]
    # One goes and one comes: the newest are known by name, of the others there is one less.
    del listing["010"]
    listing["newer"] = 237
    assert memory.poll(listing) == [Skipped(REASON, 1, "newer")]


def test_window_moving_horizon_tells_nothing() -> None:
    source = random.Random(9)  # noqa: S311 - times of uploads
    listing = {"first": 0}
    memory = Memory(listing)
    newest = 0
    for number in range(200):
        newest += source.randrange(20)
        listing[f"{number}"] = newest - source.randrange(30) * (newest > 30)
        assert memory.poll(listing) == []


def test_window_settling_objects_are_not_late() -> None:
    listing = {"a": 0, "b": 120}
    memory = Memory(listing)
    rules = {"settle": timedelta(minutes=1)}
    assert memory.poll(listing | {"slow": 60, "c": 300}, **rules) == []
    assert memory.poll(listing | {"slow": 60, "c": 300, "late": 9}, **rules) == [
        Skipped(REASON, 1, "late")
    ]


def test_window_set_later_tells_nothing_of_before() -> None:
    listing = {f"{number:03}": number for number in range(3 * NEWEST)}
    memory = Memory({})
    assert memory.poll(listing, window=None) == []
    assert memory.poll(listing | {"new": 500}) == []
    assert memory.poll(listing | {"new": 500, "late": 1}) == [Skipped(REASON, 1, "")]


def test_window_damaged_facts_break_the_sensor() -> None:
    memory = Memory({"a": 0, "b": 120})
    for older in ({}, {"count": 1, "newest": "x", "floor": None}, {"count": None} | {"newest": ""}):
        seen = SeenObjects({**memory.state, "older": older}, NOW)  # type: ignore[typeddict-item]
        with pytest.raises(SensorBroken, match="cannot read the stored state"):
            seen.late()


def test_window_late_object_is_told_by_the_sensor(
    scripted: Any, make_sensor: Callable[..., S3FileArrival], later: Callable[..., datetime]
) -> None:
    scripted.put("2025-01-15/a")
    sensor = make_sensor(**scripted.options, window="1h")
    first = sensor.poll(sensor.init())
    assert isinstance(first, Triggered)
    scripted.put("2025-01-14/late", at=later(minutes=-90))
    second = sensor.poll(first.state)
    assert isinstance(second, NotTriggered)
    assert second.skipped == (Skipped(REASON, 1, "2025-01-14/late"),)
    assert sensor.poll(second.state) == NotTriggered(second.state)
