"""Messages of a real queue become events: deleted after the commit, and none lost or looped on."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pydantic
import pytest
from flowstone_s3 import S3EventQueue
from flowstone_s3.errors import CredentialsError, S3Error, S3UnavailableError
from flowstone_s3.queue_config import S3EventQueueConfig

from flowstone_core import (
    Flowstone,
    NotTriggered,
    Outcome,
    Pipeline,
    PollContext,
    RetryLater,
    SensorBroken,
    Triggered,
)
from tests import forked

SECRET = "sec/ret+key=40"
Make = Callable[..., S3EventQueue]


def notice(key: str, name: str = "ObjectCreated:Put", bucket: str = "shop") -> str:
    item = {
        "key": key,
        "size": 5,
        "eTag": "abc",
        "sequencer": uuid.uuid5(uuid.NAMESPACE_URL, key).hex,
    }
    about = {"bucket": {"name": bucket}, "object": item}
    found = {"eventName": name, "eventTime": "2025-01-15T08:30:00.000Z", "s3": about}
    return json.dumps({"Records": [found]})


class Live:
    """A queue of one test on moto."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.session.Session("AKIATEST", SECRET, region_name="us-east-1").client(
            "sqs", endpoint_url=endpoint
        )
        self.url = self.create()
        self.options = {
            "queue_url": self.url,
            "endpoint_url": endpoint,
            "region": "us-east-1",
            "access_key": "AKIATEST",
            "secret_key": SECRET,
        }

    def create(self) -> str:
        return str(self.client.create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"])

    def send(self, *bodies: str, url: str | None = None) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=url or self.url, MessageBody=body)

    def left(self, url: str | None = None) -> tuple[int, int]:
        """How many messages are visible, and how many are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        visible, hidden = (int(found["Attributes"][name]) for name in names)
        return visible, hidden

    def show_again(self, handles: list[str]) -> None:
        """What SQS does when the time for which messages are hidden is over."""
        for handle in handles:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0
            )


@pytest.fixture
def queue(moto_endpoint: str) -> Iterator[Live]:
    live = Live(moto_endpoint)
    with closing(live.client):
        yield live


@pytest.fixture
def make(queue: Live, clock: Any) -> Iterator[Make]:
    """Make sensors of the queue; what they hold is closed after the test."""
    made: list[S3EventQueue] = []

    def make(**options: Any) -> S3EventQueue:
        config = S3EventQueueConfig.model_validate(queue.options | options)
        context = PollContext("queue", logging.getLogger("flowstone.sensor"), clock)
        made.append(S3EventQueue(config, context))
        return made[-1]

    yield make
    for sensor in made:
        sensor.cleanup()


def keys(outcome: Outcome[Any]) -> list[str]:
    """The keys of the objects that an outcome is about."""
    events = outcome.events if isinstance(outcome, Triggered) else ()
    return sorted(event.payload["objects"][0]["key"] for event in events if event.payload)  # type: ignore[index, call-overload]  # JSON


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
    assert reject["reason"] == "no partition for 'odd': a b c " + "d" * 294
    assert queue.left(rejects) == (1, 0)


def test_queue_partition_fn_gives_partition(queue: Live, make: Make) -> None:
    queue.send(*map(notice, ("raises", "number", "out", "fine")))
    sensor = make(partition_fn=by_name)
    first = sensor.poll(sensor.init())
    assert keys(first) == ["fine"]
    reasons = sorted(reject["reason"] for reject in first.state["rejects"])
    assert reasons == [
        "no partition for 'number': ValidationError",
        "no partition for 'raises': KeyError",
    ]


@pytest.mark.parametrize(("key", "error"), [("later", RetryLater), ("broken", SensorBroken)])
def test_queue_partition_fn_may_retry_later(
    queue: Live, make: Make, key: str, error: type[Exception]
) -> None:
    queue.send(notice(key))
    sensor = make(partition_fn=by_name)
    with pytest.raises(error):
        sensor.poll(sensor.init())
    assert queue.left() == (0, 1)


# -- what cannot be used ---------------------------------------------------------------------------

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
        "no partition for 'no-date': no date found in the key",
        "not an S3 notification: neither Records nor source = aws.s3 is in it",
    ]
    assert caplog.text.count("message rejected") == 4
    assert {reject["at"] for reject in first.state["rejects"]} == {"2025-01-15T12:00:30+00:00"}
    second = sensor.poll(first.state)
    assert second.state["rejects"] == first.state["rejects"]
    assert queue.left() == (0, 4), "they are still there, out of the way"


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


# -- with a store ----------------------------------------------------------------------------------


def seen(context: Any) -> dict[str, Any]:
    return {"keys": [found["key"] for each in context.payloads for found in each["objects"]]}


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
        made = [each.metadata for each in reversed(flow.materializations.all())]
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


# -- what can go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [{"version": 2}, {}, None, []])
def test_queue_state_of_another_version_is_refused(make: Make, state: Any) -> None:
    with pytest.raises(SensorBroken, match="flowstone sensors reset"):
        make().poll(state)


def test_queue_connect_changes_nothing(queue: Live, make: Make) -> None:
    queue.send(notice("2025-01-15/a"))
    make(rejects_queue_url=queue.create()).connect()
    assert queue.left() == (1, 0)


def test_queue_missing_is_reported(queue: Live, make: Make) -> None:
    sensor = make(queue_url=f"{queue.url}-missing")
    for call in (sensor.connect, lambda: sensor.poll(sensor.init())):
        with pytest.raises(S3Error, match="queue not found: queue ") as caught:
            call()
        assert "check its URL" in str(caught.value)


class Refusing(ThreadingHTTPServer):
    """Answers with one error, as SQS writes it; only one action, if another server has the rest."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)
        self.answer = (500, "", "")
        self.action = ""
        self.behind = ""
        self.signed: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Refusal(BaseHTTPRequestHandler):
    server: Refusing

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.signed.append(self.headers["Authorization"])
        if self.server.behind and self.headers["X-Amz-Target"] != self.server.action:
            url, headers = self.server.behind, dict(self.headers)
            request = urllib.request.Request(url, asked, headers)  # noqa: S310 - loopback
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                self.reply(200, answer.read())
            return
        status, code, text = self.server.answer
        body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": text}).encode()
        if not code:
            body = b"<html>"
        self.reply(status, body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    with Refusing() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (400, "AccessDeniedException", CredentialsError, "may not use queue 'http"),
        (400, "QueueDoesNotExist", S3Error, "queue not found"),
        (400, "ThrottlingException", S3UnavailableError, "throttles requests"),
        (400, "OverLimit", S3UnavailableError, "too many messages"),
        (400, "ExpiredToken", CredentialsError, "the credentials have expired: queue"),
        (403, "InvalidClientTokenId", CredentialsError, "unknown access key or session token"),
        (403, "UnrecognizedClientException", CredentialsError, "unknown access key or session"),
        (403, "InvalidSignatureException", CredentialsError, "the secret key does not belong"),
        (403, "SignatureDoesNotMatch", CredentialsError, "the secret key does not belong"),
        (400, "RequestExpired", S3Error, "the clock of this machine"),
        (401, "NotAuthorized", CredentialsError, "may not use queue"),
        (404, "", S3Error, "does not speak the SQS protocol: queue"),
        (200, "", S3Error, "does not speak the SQS protocol: queue"),
        (429, "", S3UnavailableError, "throttles requests"),
        (400, "InvalidParameterValue", S3Error, "SQS refused the request: queue "),
        (403, "", CredentialsError, "may not use queue"),
        (500, "", S3UnavailableError, "fails or is overloaded: queue"),
        (503, "ServiceUnavailable", S3UnavailableError, "fails or is overloaded: queue"),
    ],
)
def test_queue_error_names_the_remedy(
    make: Make, refusing: Refusing, status: int, code: str, kind: type[Exception], said: str
) -> None:
    refusing.answer = (status, code, "any text")
    url = f"{refusing.endpoint}/1/name"
    sensor = make(endpoint_url=refusing.endpoint, queue_url=url, timeout="5s")
    with pytest.raises(kind, match=said) as caught:
        sensor.poll(sensor.init())
    for word in (SECRET, "bucket", "s3:", "S3", "listing"):
        assert word not in str(caught.value)
    assert type(caught.value) is kind


def test_queue_expired_signature_is_clock_skew(make: Make, refusing: Refusing) -> None:
    text = "Signature expired: 20140325T143453Z is now earlier than 20140325T143751Z"
    refusing.answer = (403, "InvalidSignatureException", text)
    sensor = make(endpoint_url=refusing.endpoint, queue_url=f"{refusing.endpoint}/1/name")
    with pytest.raises(S3Error, match="the clock of this machine"):
        sensor.connect()


def test_queue_region_defaults_to_url(
    make: Make, refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    refusing.answer = (400, "QueueDoesNotExist", "")
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/name"
    for region in (None, "eu-central-1"):
        sensor = make(endpoint_url=refusing.endpoint, queue_url=url, region=region)
        with pytest.raises(S3Error, match="queue not found"):
            sensor.connect()
    assert ["/eu-west-1/sqs/" in each for each in refusing.signed] == [True, False]


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sqs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-1.sqs.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("queue.amazonaws.com", None),
        ("sqs.eu-west-1.example.org", None),
        ("127.0.0.1:9324", None),
    ],
)
def test_queue_region_is_parsed_from_url(host: str, region: str | None) -> None:
    url = f"https://{host}/123456789012/name"
    assert S3EventQueueConfig(queue_url=url).queue_region == region


def test_queue_missing_region_is_reported(make: Make, refusing: Refusing) -> None:
    url = f"{refusing.endpoint}/1/name"
    sensor = make(endpoint_url=refusing.endpoint, queue_url=url, region=None)
    with pytest.raises(S3Error, match=r"region is not set.*set region"):
        sensor.connect()


def test_queue_missing_right_to_hide_blocks_nothing(
    queue: Live, make: Make, refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send("hello", notice("2025-01-15/good"))
    refusing.behind, refusing.action = queue.endpoint, "AmazonSQS.ChangeMessageVisibilityBatch"
    refusing.answer = (400, "AccessDeniedException", "any text")
    sensor = make(endpoint_url=refusing.endpoint)
    first = sensor.poll(sensor.init())
    assert keys(first) == ["2025-01-15/good"]
    assert len(first.state["done"]) == 1
    assert (
        "cannot hide rejected messages; they reappear after visibility: access denied"
        in caplog.text
    )
    sensor.poll(first.state)
    assert queue.left() == (0, 1)


@pytest.mark.parametrize("action", ["ChangeMessageVisibilityBatch", "SendMessage"])
def test_queue_failing_server_loses_nothing(
    queue: Live, make: Make, refusing: Refusing, action: str
) -> None:
    queue.send("hello", notice("2025-01-15/good"))
    refusing.behind, refusing.action = queue.endpoint, f"AmazonSQS.{action}"
    rejects = queue.create() if action == "SendMessage" else None
    sensor = make(endpoint_url=refusing.endpoint, rejects_queue_url=rejects)
    with pytest.raises(S3UnavailableError):
        sensor.poll(sensor.init())
    assert queue.left() == (0, 2)


def test_queue_failed_delete_is_retried_by_later_poll(
    queue: Live, make: Make, refusing: Refusing
) -> None:
    queue.send(notice("2025-01-15/a"), notice("2025-01-15/b"))
    sensor = make(endpoint_url=refusing.endpoint)
    refusing.behind = queue.endpoint
    state = sensor.poll(sensor.init()).state
    refusing.action = "AmazonSQS.DeleteMessageBatch"
    refusing.answer = (400, "AccessDeniedException", "any text")
    with pytest.raises(CredentialsError, match="access denied"):
        sensor.poll(state)
    assert queue.left() == (0, 2)
    refusing.action = ""
    sensor.poll(state)
    assert queue.left() == (0, 0)


def test_queue_unreachable_endpoint_is_reported(make: Make) -> None:
    sensor = make(endpoint_url="http://127.0.0.1:1", queue_url="http://127.0.0.1:1/1/name")
    with pytest.raises(S3UnavailableError, match="cannot be reached: queue"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue_url": "name"}, "invalid queue URL"),
        ({"queue_url": "https://host/"}, "invalid queue URL"),
        ({"queue_url": "https://me:pw@host/1/q"}, "invalid queue URL"),
        ({"rejects_queue_url": "https://host/1/q"}, "must be another queue"),
        (
            {"queue_url": "https://sqs.eu-west-1.amazonaws.com/1/q", "region": "eu-west-2"},
            "queue_url is in eu-west-1, but region is eu-west-2",
        ),
        ({"wait": "21s"}, "less than or equal"),
        ({"wait": "1500ms"}, "whole seconds"),
        ({"visibility": "5s"}, "greater than or equal"),
        ({"wait": "20s", "timeout": "20s"}, "timeout must be longer than wait"),
        ({"max_messages": 0}, "greater than or equal"),
        ({"access_key": "a"}, "access_key and secret_key go together"),
        ({"partition_pattern": "("}, "partition_pattern"),
    ],
)
def test_queue_invalid_setting_names_the_fault(options: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        S3EventQueueConfig.model_validate({"queue_url": "https://host/1/q"} | options)
