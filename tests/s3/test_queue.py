"""Sensor `s3_event_queue` on a real queue: messages are deleted after the commit, none is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from flowstone_s3 import S3EventQueue

from flowstone_core import (
    Flowstone,
    NotTriggered,
    Pipeline,
    RetryLater,
    SensorBroken,
    Triggered,
)
from tests import forked
from tests.s3.queue_support import Live, Make, keys, notice, seen


def test_queue_message_fires_and_next_poll_deletes(queue: Live, make: Make) -> None:
    queue.send(notice("orders/2025-01-15/a.csv"))
    sensor = make()
    first = sensor.poll(sensor.init())
    assert isinstance(first, Triggered)
    (event,) = first.events
    assert event.partition == date(2025, 1, 15)
    assert event.payload == {
        "bucket": "shop",
        "objects": [
            {
                "key": "orders/2025-01-15/a.csv",
                "etag": "abc",
                "size": 5,
                "last_modified": "2025-01-15T08:30:00.000Z",
            }
        ],
    }
    assert queue.left() == (0, 1), "nothing is deleted before its events are committed"
    second = sensor.poll(json.loads(json.dumps(first.state)))
    assert second == NotTriggered(sensor.init())
    assert queue.left() == (0, 0)
    assert sensor.poll(second.state) == second, "a quiet poll changes nothing"


def test_queue_reads_messages_up_to_limit(queue: Live, make: Make) -> None:
    queue.send(*(notice(f"2025-01-15/{number:02}") for number in range(25)))
    sensor = make(max_messages=23)
    first = sensor.poll(sensor.init())
    assert len(keys(first)) == 23
    second = sensor.poll(first.state)
    assert sorted(keys(first) + keys(second)) == [f"2025-01-15/{number:02}" for number in range(25)]
    sensor.poll(second.state)
    assert queue.left() == (0, 0)


def test_queue_redelivered_message_has_same_key(queue: Live, make: Make) -> None:
    queue.send(notice("2025-01-15/a"), notice("2025-01-15/b"))
    sensor = make()
    first = sensor.poll(sensor.init())
    queue.show_again(first.state["done"])
    again = sensor.poll(sensor.init())
    assert isinstance(first, Triggered)
    assert isinstance(again, Triggered)
    assert {event.key for event in again.events} == {event.key for event in first.events}


def test_queue_expired_handle_is_harmless(
    queue: Live, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send(notice("2025-01-15/a"))
    sensor = make()
    state = sensor.poll(sensor.init()).state
    gone = sensor.poll(state).state
    assert gone["done"] == []
    after = sensor.poll(state | {"done": ["no handle at all", *state["done"]]})
    assert isinstance(after, NotTriggered)
    assert "will be received again, without new events" in caplog.text


def test_queue_duplicate_notifications_are_one_event(queue: Live, make: Make) -> None:
    queue.send(notice("2025-01-15/a"), notice("2025-01-15/a"))
    sensor = make()
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/a"]
    sensor.poll(first.state)
    assert queue.left() == (0, 0)


def test_queue_filtered_message_is_deleted(queue: Live, make: Make) -> None:
    queue.send(
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "shop"}),
        notice("2025-01-15/a.csv", name="ObjectRemoved:Delete"),
        notice("in/2025-01-15/a.txt"),
        notice("out/2025-01-15/a.csv"),
        notice("in/2025-01-15/b.csv"),
        notice("in/2025-01-15/a.csv"),
    )
    sensor = make(prefix="in/", suffix=".csv", glob="*/a.*")
    first = sensor.poll(sensor.init())
    assert keys(first) == ["in/2025-01-15/a.csv"]
    assert len(first.state["done"]) == 6
    assert first.state["rejects"] == []
    sensor.poll(first.state)
    assert queue.left() == (0, 0)


def test_queue_folder_marker_is_ignored(queue: Live, make: Make) -> None:
    body = json.loads(notice("2025-01-15/"))
    body["Records"][0]["s3"]["object"]["size"] = 0
    queue.send(json.dumps(body))
    sensor = make()
    assert keys(sensor.poll(sensor.init())) == []


def by_name(key: str) -> object:
    if key.startswith("later"):
        raise RetryLater(60, "not yet")
    if key.startswith("broken"):
        raise SensorBroken("never")
    if key.startswith("raises"):
        raise KeyError("hunter2")
    if key.startswith("odd"):
        raise ValueError("a\nb\0c\ud800" + "d" * 400_000)
    if key.startswith("number"):
        return 7
    return None if key.startswith("out") else key


def test_queue_reason_of_any_exception_is_storable(queue: Live, make: Make) -> None:
    rejects = queue.create()
    queue.send(notice("odd"))
    sensor = make(partition_fn=by_name, rejects_queue_url=rejects)
    state = sensor.poll(sensor.init()).state
    (reject,) = state["rejects"]
    assert (
        reject["reason"]
        == "no partition for 'odd': partition_fn raised ValueError: a b c " + "d" * 194
    )
    assert queue.left(rejects) == (1, 0)


def test_X4_queue_glob_that_matches_nothing_is_told(queue: Live, make: Make) -> None:
    queue.send(notice("in/[raw]%202025-01-15.csv"), notice("2025-01-15/", "ObjectRemoved:Delete"))
    sensor = make(glob="in/[raw] *.csv")
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, NotTriggered)
    assert outcome.reason == (
        "1 keys left out by prefix, suffix or glob; in glob, [...] stands for one character, "
        "and [[] for a ["
    )
    assert sensor.poll(outcome.state).reason == ""  # type: ignore[union-attr]
    queue.send(notice("other/2025-01-15.csv"))
    prefixed = make(prefix="in/").poll(sensor.init())
    assert prefixed.reason == "1 keys left out by prefix, suffix or glob"  # type: ignore[union-attr]


def test_queue_partition_fn_gives_partition(queue: Live, make: Make) -> None:
    queue.send(*map(notice, ("raises", "number", "out", "fine")))
    sensor = make(partition_fn=by_name)
    first = sensor.poll(sensor.init())
    assert keys(first) == ["fine"]
    reasons = sorted(reject["reason"] for reject in first.state["rejects"])
    number, raises = reasons
    assert number.startswith(
        "no partition for 'number': partition_fn returned an invalid partition: cannot encode"
    )
    assert raises == "no partition for 'raises': partition_fn raised KeyError"


@pytest.mark.parametrize(("key", "error"), [("later", RetryLater), ("broken", SensorBroken)])
def test_queue_partition_fn_may_retry_later(
    queue: Live, make: Make, key: str, error: type[Exception]
) -> None:
    queue.send(notice(key))
    sensor = make(partition_fn=by_name)
    with pytest.raises(error):
        sensor.poll(sensor.init())
    assert queue.left() == (0, 1)


# -- with a store ----------------------------------------------------------------------------------


def test_queue_real_uploads_materialize_once(queue: Live, moto: Any, tmp_path: Path) -> None:
    bucket = f"bucket-{uuid.uuid4().hex}"
    moto.client.create_bucket(Bucket=bucket)
    arn = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])
    moto.client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(seen)
    pipeline.sensor("queue", S3EventQueue, asset="orders", bucket=bucket, **queue.options)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flow.db'}") as flow:
        moto.client.put_object(Bucket=bucket, Key="2025-01-15/a b+c.csv", Body=b"12345")
        flow.run(once=True)
        moto.client.put_object(Bucket=bucket, Key="2025-01-16/🍵.csv", Body=b"12345")
        flow.run(once=True)
        flow.run(once=True)
        made = [each.metadata for each in reversed(flow.materializations.latest())]
    assert made == [{"keys": ["2025-01-15/a b+c.csv"]}, {"keys": ["2025-01-16/🍵.csv"]}]
    assert queue.left() == (0, 0)


PROGRAM = """
import json, sys
from flowstone_core import Flowstone, Pipeline
from flowstone_core.store import TickRepository
from flowstone_core.testing import CrashPoint
from flowstone_s3 import S3EventQueue

CrashPoint("before the commit").before(TickRepository, "commit")
CrashPoint("after the commit").after(TickRepository, "commit")
pipeline = Pipeline("shop")
pipeline.asset(name="orders")(lambda context: None)
pipeline.sensor("queue", S3EventQueue, asset="orders", **json.loads(sys.argv[2]))
with Flowstone(pipeline, store=sys.argv[1]) as flow:
    flow.run(once=True)
"""


@pytest.mark.parametrize("point", ["before the commit", "after the commit"])
def test_queue_process_killed_at_commit_loses_nothing(
    queue: Live, tmp_path: Path, point: str
) -> None:
    store = f"sqlite:///{tmp_path / 'flow.db'}"
    queue.send(notice("2025-01-15/a"), notice("2025-01-16/b"))

    def run(crash_at: str = "") -> int:
        command = [sys.executable, "-c", PROGRAM, store, json.dumps(queue.options)]
        environ = os.environ | {"FLOWSTONE_CRASH_AT": crash_at}
        return forked.run(command, env=environ, timeout=300, check=False).returncode

    assert run(point) == -signal.SIGKILL
    assert queue.left() == (0, 2), "what was not committed is not deleted"
    # What SQS does when the time for which they are hidden is over.
    queue.client.purge_queue(QueueUrl=queue.url)
    queue.send(notice("2025-01-15/a"), notice("2025-01-16/b"))
    assert (run(), run()) == (0, 0)
    with Flowstone(store=store) as flow:
        events = flow.events(source="sensor:queue")
    assert sorted(event.partition for event in events) == ["d:2025-01-15", "d:2025-01-16"]
    assert queue.left() == (0, 0)
