"""The faults that sensors of S3 are known for, each made to happen: S2 to S11.

Others stand where they belong: S1 in test_bucket and test_sensor, more of S2, S7, S8 and S9 in
test_bucket, of S3, S4 and S6 in test_sensor, of S4, S6 and S10 in test_memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.errors import CredentialsError, S3Error, S3UnavailableError

from flowstone_core import NotTriggered, Triggered, decode_partition, encode_partition

Make = Callable[..., S3FileArrival]
DAY = date(2025, 1, 15)


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def keys(outcome: Any) -> list[str]:
    """The keys that an outcome tells of."""
    events = outcome.events if isinstance(outcome, Triggered) else ()
    return [entry["key"] for event in events for entry in event.payload["objects"]]


class Watch:
    """A sensor that is polled, and restarted each time."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.sensor = make(**options)
        self.state = self.sensor.init()

    def poll(self) -> list[str]:
        outcome = self.sensor.poll(stored(self.state))
        self.state = outcome.state
        return keys(outcome)


@pytest.mark.parametrize(
    "key", ["a b+c%20d", "\x00line\n", "😀e\u0301é", "/../x", "é" * 512, "d:x"]
)
def test_S2_any_key_may_be_a_partition(scripted: Any, make_sensor: Make, key: str) -> None:
    scripted.put(key)
    sensor = make_sensor(**scripted.options, partition_pattern="(?s)(?P<all>.*)")
    (event,) = sensor.poll(sensor.init()).events  # type: ignore[union-attr]
    assert event.partition == key
    assert decode_partition(encode_partition(event.partition)) == key


def test_S2_lookalike_keys_are_distinct(bucket: Any, make_sensor: Make) -> None:
    watch = Watch(make_sensor, **bucket.options, partition_fn=lambda key: "all")
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    bucket.put(composed)
    assert watch.poll() == [composed]
    bucket.put(decomposed)
    assert watch.poll() == [decomposed]
    for key in ("a+b", "a b", "a%2Bb", "a%20b"):
        bucket.put(key)
    assert watch.poll() == sorted(["a+b", "a b", "a%2Bb", "a%20b"])


def test_S3_multipart_upload_has_another_etag(bucket: Any, make_sensor: Make) -> None:
    if bucket.server.name == "s3rver":
        pytest.skip("s3rver gives both the same ETag")
    bucket.put("2025-01-15.csv", b"same")
    watch = Watch(make_sensor, **bucket.options)
    watch.poll()
    bucket.begin_upload("2025-01-15.csv", b"same")()
    assert watch.poll() == ["2025-01-15.csv"]
    assert watch.poll() == []


def test_S4_deleted_and_recreated_object_fires_again(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15.csv", b"one")
    watch = Watch(make_sensor, **bucket.options)
    watch.poll()
    bucket.delete("2025-01-15.csv")
    assert watch.poll() == []
    bucket.put("2025-01-15.csv", b"two")
    assert watch.poll() == ["2025-01-15.csv"]


def test_S4_delete_marker_fires_nothing(moto_bucket: Any, make_sensor: Make) -> None:
    moto_bucket.client.put_bucket_versioning(
        Bucket=moto_bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    moto_bucket.put("2025-01-15.csv", b"one")
    watch = Watch(make_sensor, **moto_bucket.options)
    assert watch.poll() == ["2025-01-15.csv"]
    moto_bucket.put("2025-01-15.csv", b"two")
    assert watch.poll() == ["2025-01-15.csv"]
    moto_bucket.delete("2025-01-15.csv")
    assert watch.poll() == []
    assert watch.poll() == []


def test_S5_key_sorting_before_the_last_is_found(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15/m")
    watch = Watch(make_sensor, **bucket.options)
    watch.poll()
    bucket.put("2025-01-15/a")
    bucket.put("2025-01-15/z")
    bucket.put("2025-01-14/z")
    assert watch.poll() == ["2025-01-14/z", "2025-01-15/a", "2025-01-15/z"]


@pytest.mark.parametrize("options", [{}, {"window": "1h"}])
def test_S5_object_of_same_or_earlier_second_is_found(
    scripted: Any, make_sensor: Make, later: Any, options: dict[str, str]
) -> None:
    scripted.put("2025-01-15/1")
    watch = Watch(make_sensor, **scripted.options, **options)
    watch.poll()
    scripted.put("2025-01-15/2")
    assert watch.poll() == ["2025-01-15/2"]
    # A server whose clock is behind, or an upload in parts that began long ago.
    scripted.put("2025-01-15/3", at=later(minutes=-59))
    assert watch.poll() == ["2025-01-15/3"]
    assert watch.poll() == []


@pytest.mark.parametrize("options", [{}, {"window": "1h"}, {"settle": "1ms"}])
def test_S6_lagging_listing_fires_nothing(
    scripted: Any, make_sensor: Make, later: Any, clock: Any, options: dict[str, str]
) -> None:
    watch = Watch(make_sensor, **scripted.options, **options)
    scripted.put("2025-01-15/1", "old")
    before = list(scripted.objects)
    watch.poll()
    clock.time += timedelta(minutes=1)
    watch.poll()
    scripted.put("2025-01-15/1", "new", at=later(minutes=1))
    after = list(scripted.objects)
    watch.poll()
    clock.time += timedelta(minutes=1)
    watch.poll()
    for listing in (before, [], after, [], before, after):
        scripted.objects = list(listing)
        assert watch.poll() == []


def test_S7_upload_fires_when_complete(bucket: Any, make_sensor: Make) -> None:
    complete = bucket.begin_upload("2025-01-15.csv", b"content")
    watch = Watch(make_sensor, **bucket.options)
    assert watch.poll() == []
    complete()
    assert watch.poll() == ["2025-01-15.csv"]


def test_S7_folder_marker_fires_nothing(bucket: Any, make_sensor: Make) -> None:
    bucket.put("2025-01-15/", b"")
    watch = Watch(make_sensor, **bucket.options)
    assert watch.poll() == []
    assert watch.state == watch.sensor.init()


def test_S7_growing_object_fires_after_settling(bucket: Any, make_sensor: Make, clock: Any) -> None:
    watch = Watch(make_sensor, **bucket.options, settle="5m")
    for size in range(1, 4):
        bucket.put("2025-01-15.csv", b"x" * size)
        assert watch.poll() == []
        clock.time += timedelta(minutes=4)
    clock.time += timedelta(seconds=59)
    assert watch.poll() == []
    clock.time += timedelta(seconds=1)
    assert watch.poll() == ["2025-01-15.csv"]
    assert watch.poll() == []
    assert watch.sensor.poll(watch.state) == NotTriggered(watch.state)


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError")]
)
def test_S8_refused_request_is_retried(
    scripted: Any, refusal: Any, make_sensor: Make, status: int, code: str
) -> None:
    for number in range(1_001):
        scripted.put(f"2025-01-15/{number:04}")
    watch = Watch(make_sensor, **scripted.options)
    scripted.refusals = [refusal(status, code)]
    assert len(watch.poll()) == 1_001
    assert len(scripted.requests) == 3


def test_S8_slow_listing_fails_and_changes_nothing(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    for number in range(2_500):
        scripted.put(f"2025-01-15/{number:04}")
    watch = Watch(make_sensor, **scripted.options, poll_timeout="30s")

    def take(seconds: int) -> Callable[[], None]:
        def pass_by() -> None:
            clock.uptime += seconds

        return pass_by

    scripted.before_answer = take(20)
    with pytest.raises(S3UnavailableError, match=r"incomplete after poll_timeout.*\$\{year\}"):
        watch.poll()
    assert len(scripted.requests) == 2
    assert watch.state == watch.sensor.init()
    # Each poll has its own time.
    scripted.before_answer = take(10)
    assert len(watch.poll()) == 2_500


def test_S8_request_is_not_retried_after_poll_timeout(
    scripted: Any, refusal: Any, make_sensor: Make, clock: Any
) -> None:
    scripted.refuse_all = refusal(503, "SlowDown")
    watch = Watch(make_sensor, **scripted.options, poll_timeout="30s")

    def pass_by() -> None:
        clock.uptime += 31

    scripted.before_answer = pass_by
    with pytest.raises(S3UnavailableError, match="incomplete after poll_timeout"):
        watch.poll()
    assert len(scripted.requests) == 1


def test_S9_unknown_access_key_is_reported_then_recovers(bucket: Any, make_sensor: Make) -> None:
    if bucket.server.name == "moto":
        pytest.skip("moto lets in everybody")
    bucket.put("2025-01-15.csv")
    sensor = make_sensor(**bucket.options | {"access_key": "AKIAWRONG"})
    with pytest.raises(CredentialsError, match="unknown access key") as caught:
        sensor.poll(sensor.init())
    assert "AKIAWRONG" not in str(caught.value)
    assert Watch(make_sensor, **bucket.options).poll() == ["2025-01-15.csv"]


def test_S9_missing_bucket_is_reported_then_recovers(bucket: Any, make_sensor: Make) -> None:
    watch = Watch(make_sensor, **bucket.options)
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(S3Error, match="bucket not found"):
        watch.poll()
    bucket.client.create_bucket(Bucket=bucket.name)
    bucket.put("2025-01-15.csv")
    assert watch.poll() == ["2025-01-15.csv"]


def test_S10_window_keeps_the_state_small(scripted: Any, make_sensor: Make, later: Any) -> None:
    scripted.date = None
    for number in range(3_000):
        scripted.put(f"2025-01-15/{number:04}", at=later(minutes=number))
    watch = Watch(make_sensor, **scripted.options, window="50m")
    assert len(watch.poll()) == 3_000
    assert len(json.dumps(watch.state)) < 51 * 22 + 500
    scripted.put("2025-01-15/new", at=later(minutes=2_960))
    scripted.put("2025-01-15/late", at=later(minutes=2_900))
    # Later than the window allows: it counts as seen.
    assert watch.poll() == ["2025-01-15/new"]


def test_S10_dated_prefix_keeps_listing_and_state_small(
    bucket: Any, make_sensor: Make, clock: Any
) -> None:
    clock.time = datetime(2025, 1, 15, 23, 50, tzinfo=UTC)
    watch = Watch(
        make_sensor, **bucket.options, prefix="in/${year}/${month}/${day}/", lookback="1d"
    )
    for day in (13, 14, 15, 16):
        bucket.put(f"in/2025/01/{day}/a")
    assert watch.poll() == ["in/2025/01/14/a", "in/2025/01/15/a"]
    clock.time += timedelta(minutes=20)
    bucket.put("in/2025/01/14/late")
    bucket.put("in/2025/01/15/late")
    # What came since the last poll is found in the day that has left the lookback, too.
    assert watch.poll() == ["in/2025/01/14/late", "in/2025/01/15/late", "in/2025/01/16/a"]
    bucket.put("in/2025/01/14/later")
    assert watch.poll() == []
    # A clock that is set back does not make anything fire that did before.
    clock.time -= timedelta(minutes=20)
    assert watch.poll() == ["in/2025/01/14/later"]
    clock.time += timedelta(days=2)
    watch.poll()
    clock.time += timedelta(days=2)
    bucket.put("in/2025/01/19/a")
    assert watch.poll() == ["in/2025/01/19/a"]
    assert watch.poll() == [], "the days before were listed for the last time"
    assert len(watch.state["seen"]) == 24


def test_S11_bucket_of_another_owner_is_refused(
    scripted: Any, refusal: Any, make_sensor: Make
) -> None:
    scripted.put("2025-01-15.csv")
    watch = Watch(make_sensor, **scripted.options, expected_owner="111122223333")
    assert watch.poll() == ["2025-01-15.csv"]
    assert scripted.requests[-1]["x-amz-expected-bucket-owner"] == "111122223333"
    scripted.refuse_all = refusal(403, "AccessDenied")
    with pytest.raises(CredentialsError, match=r"belong to the account 111122223333.*expected_own"):
        watch.poll()


def test_default_options_send_no_extra_header(scripted: Any, make_sensor: Make) -> None:
    Watch(make_sensor, **scripted.options).poll()
    Watch(make_sensor, **scripted.options, requester_pays=True).poll()
    plain, paying = ({name.lower() for name in request} for request in scripted.requests)
    assert paying - plain == {"x-amz-request-payer"}
    assert "x-amz-expected-bucket-owner" not in plain
