"""Rejected messages: hidden, moved or kept, without blocking others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flowstone_s3 import S3EventQueue
from flowstone_s3.rejects import Rejects
from moto.sqs.models import sqs_backends

from flowstone_core import Flowstone, NotTriggered, Pipeline, Triggered
from tests.s3.queue_support import Live, Make, keys, notice, seen

NO_DATE = (
    "no date found in the key: set partition_pattern, partition_fn, or partition = ${date} for the "
    "date of the poll"
)
POISON = [
    "hello",
    json.dumps({"source": "aws.ec2"}),
    notice("no-date"),
    notice("2025-01-15/a", bucket="other"),
]


def test_queue_rejected_message_is_hidden_and_logged_once(
    queue: Live, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send(*POISON, notice("2025-01-15/good"))
    sensor = make(bucket="shop")
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/good"]
    assert len(first.state["done"]) == 1
    reasons = sorted(reject["reason"] for reject in first.state["rejects"])
    assert reasons == [
        "about another bucket",
        "invalid JSON",
        f"no partition for 'no-date': {NO_DATE}",
        "not an S3 notification: neither Records nor source = aws.s3 is in it",
    ]
    assert caplog.text.count("message rejected") == 4
    assert {reject["at"] for reject in first.state["rejects"]} == {"2025-01-15T12:00:30+00:00"}
    second = sensor.poll(first.state)
    assert second.state["rejects"] == first.state["rejects"]
    assert queue.left() == (0, 4), "they are still there, out of the way"


def test_N7_queue_rejected_message_is_told_once(queue: Live, make: Make) -> None:
    queue.send(*POISON, notice("2025-01-15/good"))
    sensor = make(bucket="shop")
    first = sensor.poll(sensor.init())
    assert isinstance(first, Triggered)
    told = {each.reason: each.example for each in first.skipped}
    assert told.pop(NO_DATE) == "no-date"
    assert sorted(told) == [
        "message rejected: about another bucket",
        "message rejected: invalid JSON",
        "message rejected: not an S3 notification: neither Records nor source = aws.s3 is in it",
    ]
    assert all(example.startswith("message ") for example in told.values())
    queue.send("hello again")
    second = sensor.poll(first.state)
    assert isinstance(second, NotTriggered)
    assert [each.reason for each in second.skipped] == ["message rejected: invalid JSON"]
    assert make().poll(second.state).skipped == ()  # type: ignore[union-attr]


def test_queue_redelivered_reject_is_logged_once(
    queue: Live, make: Make, caplog: pytest.LogCaptureFixture, clock: Any
) -> None:
    queue.send("hello")
    sensor = make()
    state = sensor.poll(sensor.init()).state
    clock.time += timedelta(hours=12)
    received = queue.client.receive_message(QueueUrl=queue.url)
    assert "Messages" not in received, "it is hidden"
    queue.send("hello, too")
    later = sensor.poll(state).state
    assert [reject["reason"] for reject in later["rejects"]] == ["invalid JSON"] * 2
    known = later | {"rejects": later["rejects"][:1]}
    assert caplog.text.count("rejected") == 2
    assert sensor.poll(known).state == known | {"done": []}


def test_queue_redelivered_reject_updates_its_time(
    queue: Live, make: Make, caplog: pytest.LogCaptureFixture, clock: Any
) -> None:
    queue.send("hello")
    handle = queue.client.receive_message(QueueUrl=queue.url)["Messages"][0]
    queue.show_again([handle["ReceiptHandle"]])
    sensor = make()
    before = sensor.init() | {
        "rejects": [{"id": handle["MessageId"], "at": "then", "reason": "old"}]
    }
    after = sensor.poll(before).state  # type: ignore[arg-type]  # a dict of just these keys
    assert [(each["id"], each["at"]) for each in after["rejects"]] == [
        (handle["MessageId"], "2025-01-15T12:00:30+00:00")
    ]
    assert "rejected" not in caplog.text


def test_queue_rejects_are_moved(queue: Live, make: Make) -> None:
    rejects = queue.create()
    queue.send("hello", notice("2025-01-15/good"))
    sensor = make(rejects_queue_url=rejects)
    first = sensor.poll(sensor.init())
    assert len(first.state["done"]) == 2
    sensor.poll(first.state)
    assert queue.left() == (0, 0)
    (moved,) = queue.client.receive_message(QueueUrl=rejects, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert moved["Body"] == "hello"
    assert moved["MessageAttributes"]["flowstone_reason"]["StringValue"] == "invalid JSON"
    assert moved["MessageAttributes"]["flowstone_message_id"]["StringValue"]


def test_queue_missing_rejects_queue_blocks_nothing(
    queue: Live, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send("hello", notice("2025-01-15/good"))
    sensor = make(rejects_queue_url=queue.url + "-missing")
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/good"]
    assert len(first.state["done"]) == 1
    assert [reject["reason"] for reject in first.state["rejects"]] == ["invalid JSON"]
    assert "cannot move rejected message; it stays in the queue: queue not found" in caplog.text
    sensor.poll(first.state)
    assert queue.left() == (0, 1), "it is not lost"


def test_queue_reject_too_long_to_move_stays(queue: Live, make: Make) -> None:
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"MaximumMessageSize": "2048"})
    rejects = queue.create()
    queue.client.set_queue_attributes(QueueUrl=rejects, Attributes={"MaximumMessageSize": "1024"})
    queue.send("x" * 1500, "hello", notice("2025-01-15/good"))
    sensor = make(rejects_queue_url=rejects)
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/good"]
    sensor.poll(first.state)
    assert (queue.left(), queue.left(rejects)) == ((0, 1), (1, 0))


@pytest.mark.parametrize("facts", [{"eTag": "\ud800"}, {"size": 2**70}])
def test_queue_unstorable_message_is_rejected(
    queue: Live, tmp_path: Path, facts: dict[str, Any]
) -> None:
    body = json.loads(notice("2025-01-15/bad"))
    body["Records"][0]["s3"]["object"] |= facts
    queue.send(json.dumps(body), notice("2025-01-16/good"))
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(seen)
    pipeline.sensor("queue", S3EventQueue, asset="orders", **queue.options)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flow.db'}") as flow:
        flow.run(once=True)
        flow.run(once=True)
        assert [event.partition for event in flow.events()] == ["d:2025-01-16"]
    assert queue.left() == (0, 1)


def test_queue_valid_records_of_rejected_message_fire(queue: Live, make: Make) -> None:
    both = json.loads(notice("2025-01-15/good"))
    both["Records"] += json.loads(notice("no-date"))["Records"]
    both["Records"] += json.loads(notice("2025-01-16/good"))["Records"]
    queue.send(json.dumps(both))
    sensor = make()
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/good", "2025-01-16/good"]
    assert first.state["done"] == []
    assert len(first.state["rejects"]) == 1


def test_queue_state_keeps_last_rejects(queue: Live, make: Make) -> None:
    sensor = make(max_messages=1000)
    old = [{"id": str(number), "at": "then", "reason": "any"} for number in range(100)]
    queue.send("hello")
    state = sensor.poll(sensor.init() | {"rejects": old}).state  # type: ignore[arg-type]  # as above
    assert len(state["rejects"]) == 100
    assert [each["id"] for each in state["rejects"][:99]] == [str(n) for n in range(1, 100)]


def test_N7_queue_redelivered_reject_is_told_once(queue: Live, make: Make) -> None:
    sensor = make(max_messages=1000)
    state, handles = sensor.init(), []
    for number in range(130):
        queue.send(f"bad {number}")
    for number in range(2):
        # Some are still listed in the state, of others only a digest is kept.
        outcome = sensor.poll(json.loads(json.dumps(state)))
        assert isinstance(outcome, NotTriggered)
        told, state = [each.count for each in outcome.skipped], outcome.state
        assert sum(told) == (0 if number else 130)
        assert len(state["rejects"]) == 100
        backend = sqs_backends["123456789012"]["us-east-1"].queues[queue.url.rpartition("/")[2]]
        for message in backend._messages:
            message.change_visibility(0)
            handles.append(message)
    assert len(handles) == 260


def test_queue_damaged_digests_count_as_none() -> None:
    for text in ("%", "AAAA"):
        assert not Rejects([], text).knows("any")
