"""Keys without a partition: set aside and told once, tried again after a restart, or an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.errors import PartitionError
from flowstone_s3.seen_objects import SeenObjects
from flowstone_s3.state import ASIDE_LIMIT, decode_state, empty_state

from flowstone_core import Flowstone, NotTriggered, Pipeline, Triggered
from tests.s3.seen_support import NOW, item

Make = Callable[..., S3FileArrival]
DAY = date(2025, 1, 15)


class Watch:
    """A sensor that is polled; its states pass through JSON."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.make, self.options = make, options
        self.sensor = make(**options)
        self.state: Any = self.sensor.init()

    def poll(self) -> tuple[list[str], list[tuple[int, str]]]:
        """Return the keys that fire, and number and example of the skipped ones."""
        outcome = self.sensor.poll(json.loads(json.dumps(self.state)))
        assert isinstance(outcome, Triggered | NotTriggered)
        self.state = outcome.state
        events = outcome.events if isinstance(outcome, Triggered) else ()
        keys = [entry["key"] for event in events for entry in event.payload["objects"]]  # type: ignore[index, union-attr, call-overload]
        return keys, [(each.count, each.example) for each in outcome.skipped]

    def restart(self, **options: Any) -> None:
        self.sensor = self.make(**self.options | options)


def test_N7_unreadable_key_is_skipped_and_told_once(bucket: Any, make_sensor: Make) -> None:
    for key in ("orders/2025-01-15.csv", "orders/readme.txt", "orders/x.tmp"):
        bucket.put(key)
    watch = Watch(make_sensor, **bucket.options)
    assert watch.poll() == (["orders/2025-01-15.csv"], [(2, "orders/readme.txt")])
    state = watch.state
    assert watch.poll() == ([], [])
    assert watch.state is not state
    assert watch.state == state
    bucket.put("orders/y.tmp")
    assert watch.poll() == ([], [(1, "orders/y.tmp")])
    watch.restart()
    assert watch.poll() == ([], [])


def test_N7_each_reason_is_counted_by_itself(scripted: Any, make_sensor: Make) -> None:
    for key in ("2025-13-13", "20250101_20250102", "20250101_20250103", "a", "line\nbreak"):
        scripted.put(key)
    sensor = make_sensor(**scripted.options)
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, NotTriggered)
    several, none = sorted(outcome.skipped, key=lambda each: each.count)
    assert (several.count, several.example) == (2, "20250101_20250102 (20250101 and 20250102)")
    assert (none.count, none.example) == (3, "2025-13-13")
    assert "partition = ${date}" in none.reason


def test_N7_skipped_key_fires_after_mending(scripted: Any, make_sensor: Make) -> None:
    scripted.put("a/15.csv")
    scripted.put("a/16.csv")
    watch = Watch(make_sensor, **scripted.options, on="created")
    assert watch.poll() == ([], [(2, "a/15.csv")])
    watch.restart(partition_pattern=r"(?P<day_of_month>1[56])")
    assert watch.poll() == (["a/15.csv", "a/16.csv"], [])
    assert "aside" not in watch.state
    assert watch.poll() == ([], [])
    watch.restart()
    assert watch.poll() == ([], [])


def test_N7_skipped_key_fires_again_after_a_failed_commit(scripted: Any, make_sensor: Make) -> None:
    scripted.put("a/15.csv")
    watch = Watch(make_sensor, **scripted.options)
    watch.poll()
    before = watch.state
    watch.restart(partition="${date}")
    for _ in range(2):
        watch.state = before
        assert watch.poll() == (["a/15.csv"], [])
    assert watch.poll() == ([], [])


def test_N7_skipped_key_that_is_overwritten_is_not_told_again(
    scripted: Any, make_sensor: Make
) -> None:
    scripted.put("manifest.json", "one")
    watch = Watch(make_sensor, **scripted.options)
    assert watch.poll() == ([], [(1, "manifest.json")])
    scripted.put("manifest.json", "two")
    assert watch.poll() == ([], [])
    watch.restart(partition="${date}")
    assert watch.poll() == (["manifest.json"], [])


def test_N7_skipped_key_that_went_missing_is_known(scripted: Any, make_sensor: Make) -> None:
    scripted.put("manifest.json")
    watch = Watch(make_sensor, **scripted.options)
    watch.poll()
    listing, scripted.objects = scripted.objects, []
    assert watch.poll() == ([], [])
    scripted.objects = listing
    assert watch.poll() == ([], [])
    watch.restart(partition="${date}")
    assert watch.poll() == (["manifest.json"], [])


def test_N7_skipped_key_that_is_gone_is_forgotten(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    scripted.put("manifest.json")
    scripted.put("2025-01-15")
    watch = Watch(make_sensor, **scripted.options)
    watch.poll()
    scripted.delete("manifest.json")
    for number in range(2):
        clock.time += timedelta(days=2)
        scripted.put(f"2025-01-15/{number}")
        watch.poll()
    assert "aside" not in watch.state


def test_N7_skipped_marks_are_limited() -> None:
    memory = SeenObjects(empty_state(), NOW)
    for number in range(ASIDE_LIMIT + 5):
        assert memory.observe(item(f"{number}", "e", 1))
        assert memory.set_aside(f"{number}")
    assert len(decode_state(memory.state(), NOW).aside) == ASIDE_LIMIT


def test_F1b_failing_poll_keeps_its_days(bucket: Any, make_sensor: Make, clock: Any) -> None:
    options = {"prefix": "orders/${year}/${month}/${day}/", "unreadable_keys": "fail"}
    pattern = {"partition_pattern": r"(?P<name>\w+)\.csv"}
    watch = Watch(make_sensor, **bucket.options, **options, **pattern)
    assert watch.poll() == ([], [])
    for name in ("upload.tmp", "a.csv"):
        bucket.put(f"orders/2025/01/15/{name}")
    for _ in range(6):
        with pytest.raises(PartitionError, match=r"upload.tmp': partition_pattern does not match"):
            watch.poll()
        clock.time += timedelta(days=1)
    watch.restart(suffix=".csv")
    assert watch.poll() == (["orders/2025/01/15/a.csv"], [])


def test_F1b_skipped_key_beside_good_ones_loses_neither(
    bucket: Any, make_sensor: Make, clock: Any
) -> None:
    options = {"prefix": "orders/${year}/${month}/${day}/"}
    pattern = {"partition_pattern": r"(?P<name>\w+)\.csv"}
    watch = Watch(make_sensor, **bucket.options, **options, **pattern)
    bucket.put("orders/2025/01/15/upload.tmp")
    bucket.put("orders/2025/01/15/a.csv")
    assert watch.poll() == (["orders/2025/01/15/a.csv"], [(1, "orders/2025/01/15/upload.tmp")])
    for day in range(16, 20):
        clock.time += timedelta(days=1)
        bucket.put(f"orders/2025/01/{day}/b.csv")
        assert watch.poll() == ([f"orders/2025/01/{day}/b.csv"], [])


def test_N7_skipped_keys_are_stored_with_the_tick(bucket: Any, tmp_path: Path) -> None:
    bucket.put("orders/2025-01-15.csv")
    bucket.put("orders/readme.txt")
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    pipeline.sensor("new", S3FileArrival, asset="orders", **bucket.options)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flow.db'}") as flow:
        flow.run(once=True)
        flow.run(once=True)
        assert [event.partition for event in flow.events()] == ["d:2025-01-15"]
        told = [each for tick in flow.ticks() for each in tick.skipped_items]
    assert [(each.count, each.example) for each in told] == [(1, "orders/readme.txt")]
