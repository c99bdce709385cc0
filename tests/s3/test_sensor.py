from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

import flowstone_s3
import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.errors import CredentialsError, PartitionError

from flowstone_core import NotTriggered, SensorBroken, Triggered
from flowstone_core.model.sensor import is_sensor_class
from flowstone_core.plugin.hookspecs import API_VERSION

Make = Callable[..., S3FileArrival]
DAY = date(2025, 1, 15)


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def found(outcome: Any) -> dict[Any, list[str]]:
    """The keys of an outcome's events, by partition."""
    assert isinstance(outcome, Triggered)
    keys: dict[Any, list[str]] = {}
    for event in outcome.events:
        keys.setdefault(event.partition, []).extend(
            entry["key"] for entry in event.payload["objects"]
        )
    return keys


def test_sensor_new_object_fires(bucket: Any, make_sensor: Make) -> None:
    bucket.put("orders/2025-01-16/1.csv")
    bucket.put("orders/2025-01-15/2.csv")
    bucket.put("orders/2025-01-15/1.csv")
    bucket.put("other/readme.txt")
    sensor = make_sensor(**bucket.options, prefix="orders/")
    first = sensor.poll(sensor.init())
    assert found(first) == {
        DAY: ["orders/2025-01-15/1.csv", "orders/2025-01-15/2.csv"],
        date(2025, 1, 16): ["orders/2025-01-16/1.csv"],
    }
    assert first.events[0].payload["bucket"] == bucket.name
    # It sorts before everything that was there already.
    bucket.put("orders/2024-12-31/late.csv")
    second = sensor.poll(stored(first.state))
    assert found(second) == {date(2024, 12, 31): ["orders/2024-12-31/late.csv"]}


def test_sensor_quiet_poll_returns_same_state(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15.csv")
    sensor = make_sensor(**bucket.options)
    state = sensor.poll(sensor.init()).state
    quiet = sensor.poll(state)
    assert quiet == NotTriggered(state)
    assert quiet.state is state


def test_sensor_empty_bucket_is_quiet(bucket: Any, make_sensor: Make) -> None:
    sensor = make_sensor(**bucket.options)
    initial = sensor.init()
    assert sensor.poll(initial) == NotTriggered(initial)


def test_S3_overwritten_object_fires_with_new_etag(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15.csv", b"one")
    sensor = make_sensor(**bucket.options)
    first = sensor.poll(sensor.init())
    bucket.put("2025-01-15.csv", b"two")
    second = sensor.poll(first.state)
    assert found(second) == {DAY: ["2025-01-15.csv"]}
    old, new = (poll.events[0].payload["objects"][0]["etag"] for poll in (first, second))
    assert old != new


def test_S3_same_content_again_is_quiet(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15.csv", b"one")
    sensor = make_sensor(**bucket.options)
    state = sensor.poll(sensor.init()).state
    bucket.put("2025-01-15.csv", b"one")
    assert isinstance(sensor.poll(state), NotTriggered)


def test_S4_deleted_object_fires_nothing(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15.csv")
    bucket.put("2025-01-16.csv")
    sensor = make_sensor(**bucket.options)
    state = sensor.poll(sensor.init()).state
    bucket.delete("2025-01-15.csv")
    outcome = sensor.poll(state)
    assert isinstance(outcome, NotTriggered)
    assert outcome.state != state


def test_S6_returning_object_fires_only_if_rewritten(
    scripted: Any, make_sensor: Make, later: Any, clock: Any
) -> None:
    sensor = make_sensor(**scripted.options)
    scripted.put("2025-01-15.csv")
    state = sensor.poll(sensor.init()).state
    listing, scripted.objects = scripted.objects, []
    state = sensor.poll(stored(state)).state
    scripted.objects = listing
    flicker = sensor.poll(stored(state))
    assert isinstance(flicker, NotTriggered)
    scripted.delete("2025-01-15.csv")
    state = sensor.poll(flicker.state).state
    scripted.put("2025-01-15.csv", at=later(minutes=5))
    assert found(sensor.poll(state)) == {DAY: ["2025-01-15.csv"]}
    # Past a day nothing is known of it any more.
    scripted.objects = listing
    clock.time += timedelta(days=2)
    assert found(sensor.poll(state)) == {DAY: ["2025-01-15.csv"]}


def test_sensor_many_objects_become_bounded_events(scripted: Any, make_sensor: Make) -> None:
    keys = [f"2025-01-15/{number:04}.csv" for number in range(2_500)]
    for key in keys:
        scripted.put(key)
    sensor = make_sensor(**scripted.options)
    outcome = sensor.poll(sensor.init())
    assert [len(event.payload["objects"]) for event in outcome.events] == [500] * 5
    assert found(outcome) == {DAY: keys}
    replay = make_sensor(**scripted.options).poll(sensor.init())
    assert replay.events == outcome.events
    assert replay.state == outcome.state
    assert isinstance(sensor.poll(stored(outcome.state)), NotTriggered)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"suffix": ".csv"}, ["in/2025-01-15/a.csv", "in/2025-01-15/b.csv"]),
        ({"glob": "in/*/a.*"}, ["in/2025-01-15/a.csv", "in/2025-01-15/a.txt"]),
        ({"glob": "in/*", "suffix": "b.csv"}, ["in/2025-01-15/b.csv"]),
        ({"glob": "IN/*"}, []),
        ({"prefix": "in/2025-01-15/a.t"}, ["in/2025-01-15/a.txt"]),
    ],
)
def test_sensor_filtered_objects_are_not_remembered(
    scripted: Any, make_sensor: Make, options: dict[str, str], keys: list[str]
) -> None:
    everything = ["in/2025-01-15/a.csv", "in/2025-01-15/a.txt", "in/2025-01-15/b.csv"]
    for key in everything:
        scripted.put(key)
    sensor = make_sensor(**scripted.options, **options)
    outcome = sensor.poll(sensor.init())
    assert (found(outcome) if keys else {}) == ({DAY: keys} if keys else {})
    rest = make_sensor(**scripted.options).poll(outcome.state)
    assert found(rest)[DAY] == [key for key in everything if key not in keys]


def test_X4_glob_that_matches_nothing_is_told(scripted: Any, make_sensor: Make) -> None:
    scripted.put("in/[raw] 2025-01-15.csv")
    sensor = make_sensor(**scripted.options, glob="in/[raw] *.csv")
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, NotTriggered)
    assert outcome.reason == (
        "none of 1 listed keys matches suffix and glob; in glob, [...] stands for one character, "
        "and [[] for a ["
    )
    literal = make_sensor(**scripted.options, glob="in/[[]raw] *.csv")
    assert found(literal.poll(sensor.init())) == {DAY: ["in/[raw] 2025-01-15.csv"]}
    suffix = make_sensor(**scripted.options, suffix=".txt").poll(sensor.init())
    assert suffix.reason == "none of 1 listed keys matches suffix and glob"  # type: ignore[union-attr]
    scripted.objects = []
    assert sensor.poll(sensor.init()).reason == ""  # type: ignore[union-attr]


def test_sensor_pattern_gives_partition(scripted: Any, make_sensor: Make) -> None:
    scripted.put("eu/2025-01-15T07.csv")
    pattern = r"^(?P<region>\w+)/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)T(?P<hour>\d+)"
    sensor = make_sensor(**scripted.options, partition_pattern=pattern)
    assert list(found(sensor.poll(sensor.init()))) == [("eu", datetime(2025, 1, 15, 7, tzinfo=UTC))]


def test_sensor_partition_fn_gives_partition_or_none(scripted: Any, make_sensor: Make) -> None:
    scripted.put("acme/x")
    scripted.put("_temporary/x")

    def tenant(key: str) -> str | None:
        return None if key.startswith("_") else key.split("/", maxsplit=1)[0]

    sensor = make_sensor(**scripted.options, partition_fn=tenant)
    outcome = sensor.poll(sensor.init())
    assert found(outcome) == {"acme": ["acme/x"]}
    scripted.put("_temporary/y")
    ignored = sensor.poll(outcome.state)
    assert isinstance(ignored, NotTriggered)
    assert sensor.poll(ignored.state).state is ignored.state


def test_sensor_key_without_partition_fails_poll_if_asked(scripted: Any, make_sensor: Make) -> None:
    scripted.put("2025-01-15.csv")
    scripted.put("readme.txt")
    sensor = make_sensor(**scripted.options, unreadable_keys="fail")
    with pytest.raises(PartitionError, match=r"'readme.txt': no date found in the key"):
        sensor.poll(sensor.init())
    settled = make_sensor(**scripted.options, suffix=".csv")
    assert found(settled.poll(settled.init())) == {DAY: ["2025-01-15.csv"]}


def test_S1_interrupted_listing_loses_nothing(scripted: Any, make_sensor: Make) -> None:
    for number in range(1_500):
        scripted.put(f"2025-01-15/{number:04}")
    sensor = make_sensor(**scripted.options)
    initial = sensor.init()
    scripted.fail_after_page = 1_000
    with pytest.raises(CredentialsError):
        sensor.poll(initial)
    assert initial == sensor.init()
    scripted.fail_after_page = None
    assert len(found(sensor.poll(initial))[DAY]) == 1_500


def test_sensor_state_of_another_version_breaks(scripted: Any, make_sensor: Make) -> None:
    sensor = make_sensor(**scripted.options)
    with pytest.raises(SensorBroken, match="version 3"):
        sensor.poll({"version": 3})  # type: ignore[arg-type]
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("on", "keys"),
    [("created", [["1"], ["2"]]), ("changed", [[], ["1"]]), ("both", [["1"], ["1", "2"]])],
)
def test_sensor_created_and_changed_are_distinguished(
    bucket: Any, make_sensor: Make, on: str, keys: list[list[str]]
) -> None:
    sensor = make_sensor(**bucket.options, on=on, partition_fn=lambda key: "all")
    bucket.put("1", b"one")
    first = sensor.poll(sensor.init())
    bucket.put("1", b"two")
    bucket.put("2", b"one")
    second = sensor.poll(stored(first.state))
    assert [
        found(outcome)["all"] if isinstance(outcome, Triggered) else []
        for outcome in (first, second)
    ] == keys
    assert isinstance(sensor.poll(stored(second.state)), NotTriggered)


def test_sensor_lists_each_month_of_lookback_once(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    clock.time = datetime(2025, 1, 15, tzinfo=UTC)
    scripted.put("2025-01-15/1")
    scripted.put("2025-01-14/1")
    sensor = make_sensor(**scripted.options, prefix="${year}-${month}", lookback="30d")
    outcome = sensor.poll(sensor.init())
    assert found(outcome) == {date(2025, 1, 14): ["2025-01-14/1"], DAY: ["2025-01-15/1"]}
    assert ["prefix=2024-12" in scripted.requests[0]["path"], len(scripted.requests)] == [True, 2]


def test_sensor_connect_requests_one_key(scripted: Any, refusal: Any, make_sensor: Make) -> None:
    sensor = make_sensor(**scripted.options, prefix="in/${year}/")
    sensor.connect()
    (asked,) = scripted.requests
    assert "prefix=in%2F2025%2F" in asked["path"]
    scripted.refuse_all = refusal(403, "AccessDenied")
    with pytest.raises(CredentialsError, match="access denied"):
        sensor.connect()


def test_plugin_offers_its_sensors() -> None:
    assert flowstone_s3.FLOWSTONE_API == API_VERSION
    offered = flowstone_s3.flowstone_sensors()
    assert offered["s3_file_arrival"] is S3FileArrival
    assert set(offered) == {"s3_file_arrival", "s3_event_queue"}
    assert all(is_sensor_class(each) for each in offered.values())
    (entry,) = entry_points(group="flowstone", name="s3")
    assert entry.load() is flowstone_s3


def test_plugin_import_does_not_import_boto3() -> None:
    code = (
        "import sys, flowstone_s3\n"
        "sensor = flowstone_s3.S3FileArrival(\n"
        "    flowstone_s3.S3FileArrival.Config(bucket='shop'))\n"
        "sensor.init(), sensor.cleanup()\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
