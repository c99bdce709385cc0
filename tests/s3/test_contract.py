"""Sensor contract of the S3 sensors, on real servers."""

from __future__ import annotations

import itertools
import os
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import boto3
import pytest
from flowstone_s3 import S3EventQueue, S3FileArrival
from moto.sqs.models import sqs_backends

from flowstone_core import PollContext
from flowstone_core.testing import SensorContract

ACCOUNT = "123456789012"
EVERY = bool(os.environ.get("FLOWSTONE_CHAOS"))

INDEPENDENT_OF_OPTIONS = (
    "test_a_run_ends_in_materializations",
    "test_a_poll_stops_at_its_deadline",
    "test_a_source_that_never_answers_is_given_up",
    "test_an_unknown_setting_is_refused",
    "test_cleanup_may_come_at_any_time",
    "test_connect_fails_where_the_source_does",
    "test_connect_proves_and_changes_nothing",
    "test_each_call_may_come_in_another_thread",
    "test_every_setting_is_described",
    "test_nothing_is_left_behind",
    "test_secrets_are_never_shown",
    "test_wrong_settings_are_refused_by_name",
)
"""Checks of connection, threads and settings: `on`, `settle` and `window` do not change them."""


class Gate:
    """A server that stands before another, and lets through all, nothing, or no answer."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.open = True
        self.answers = True
        self.pages: Iterator[bytes] | None = None
        self.released = threading.Event()
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gate.handle(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def handle(self, client: socket.socket) -> None:
        with socket.create_connection(self.target) as server:
            while self.open:
                readable, _, _ = select.select([client, server], [], [])
                for end in readable:
                    data = end.recv(65536)
                    if not data or not self.open:
                        return
                    if not self.answers:
                        self.released.wait()
                        return
                    if end is client and self.pages is not None:
                        client.sendall(next(self.pages))
                    else:
                        (server if end is client else client).sendall(data)

    @contextmanager
    def shut(self) -> Iterator[None]:
        self.open = False
        yield
        self.open = True

    @contextmanager
    def hung(self) -> Iterator[None]:
        self.answers = False
        yield
        self.answers = True
        self.released.set()
        self.released = threading.Event()

    @contextmanager
    def endless(self) -> Iterator[None]:
        self.pages = map(_page, itertools.count(1))
        yield
        self.pages = None

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _page(number: int) -> bytes:
    body = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        f"<NextContinuationToken>{number}</NextContinuationToken></ListBucketResult>"
    )
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


class TestS3FileArrival(SensorContract):
    options: ClassVar[dict[str, object]] = {}
    there_before: ClassVar = 0
    invalid_settings = (
        ({"bucket": "s3://shop/orders"}, "write bucket = shop"),
        ({"bucket": ...}, "bucket"),
        ({"secret_key": ...}, "access_key and secret_key go together"),
        ({"partition_pattern": "("}, "partition_pattern"),
    )

    @pytest.fixture
    def source(self, bucket: Any) -> Iterator[None]:
        self.bucket = bucket
        host, _, port = bucket.options["endpoint_url"].removeprefix("http://").partition(":")
        self.gate = Gate(host, int(port))
        for number in range(self.there_before):
            self.put(number, b"before")
            self.bucket.put(self.unreadable(number), b"before")
        yield
        self.gate.stop()

    def make_sensor(self, context: PollContext) -> S3FileArrival:
        options = self.bucket.options | {
            "endpoint_url": self.gate.endpoint,
            "timeout": "500ms",
            "partition_pattern": r"(?P<name>file-\d+)",
            **self.options,
        }
        return S3FileArrival(S3FileArrival.Config.model_validate(options), context)

    def change(self, number: int) -> str:
        self.put(number, b"x")
        return f"file-{number:04}"

    def change_to_skip(self, number: int) -> str:
        self.bucket.put(self.unreadable(number), b"x")
        return self.unreadable(number)

    def put(self, number: int, body: bytes) -> None:
        self.bucket.put(f"orders/file-{number:04} +%.csv", body)

    def unreadable(self, number: int) -> str:
        return f"orders/upload-{number:04}.tmp"

    def endless_source(self) -> Any:
        return self.gate.endless()

    def break_source(self) -> Any:
        return self.gate.shut()

    def hang_source(self) -> Any:
        return self.gate.hung()


class OnOneServer:
    """Checks that depend on the options, on one server; all of them with FLOWSTONE_CHAOS=1."""

    def __init_subclass__(cls) -> None:
        for name in () if EVERY else INDEPENDENT_OF_OPTIONS:
            setattr(cls, name, None)

    @pytest.fixture
    def bucket(self, moto_bucket: Any) -> Any:
        return moto_bucket


class TestS3FileArrivalOfWhatIsCreated(OnOneServer, TestS3FileArrival):
    options: ClassVar = {"on": "created"}


class TestS3FileArrivalOfWhatChanges(OnOneServer, TestS3FileArrival):
    options: ClassVar = {"on": "changed"}
    there_before = 40


class TestS3FileArrivalThatSettles(OnOneServer, TestS3FileArrival):
    options: ClassVar = {"settle": "30s"}
    polls_to_fire = 2


class TestS3FileArrivalOfAWindow(OnOneServer, TestS3FileArrival):
    options: ClassVar = {"window": "1h", "prefix": "orders/"}


class TestS3FileArrivalByDay(OnOneServer, TestS3FileArrival):
    options: ClassVar = {"prefix": "orders/${year}/${month}/${day}/"}

    def put(self, number: int, body: bytes) -> None:
        self.bucket.put(f"orders/{self.clock.now():%Y/%m/%d}/file-{number:04} +%.csv", body)

    def unreadable(self, number: int) -> str:
        return f"orders/{self.clock.now():%Y/%m/%d}/upload-{number:04}.tmp"


class TestS3EventQueue(SensorContract):
    """Objects are put into a bucket of moto, which tells the queue."""

    invalid_settings = (
        ({"queue_url": ...}, "queue_url"),
        ({"queue_url": "orders"}, "invalid queue URL"),
        ({"visibility": timedelta(seconds=1)}, "visibility"),
        ({"wait": timedelta(seconds=1)}, "timeout must be longer than wait"),
    )
    not_applicable: ClassVar = {"endless_source": "a poll reads max_messages at most"}

    @pytest.fixture
    def source(self, moto_bucket: Any) -> Iterator[None]:
        self.bucket = moto_bucket
        endpoint = urlsplit(moto_bucket.options["endpoint_url"])
        self.gate = Gate(str(endpoint.hostname), endpoint.port or 0)
        own = {"endpoint_url": endpoint.geturl(), "region_name": "us-east-1"}
        own |= {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        sqs, s3 = (boto3.Session().client(name, **own) for name in ("sqs", "s3"))
        self.path = urlsplit(sqs.create_queue(QueueName=self.bucket.name)["QueueUrl"]).path
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{self.bucket.name}"
        configuration = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket=self.bucket.name,
            NotificationConfiguration={"QueueConfigurations": [configuration]},
        )
        yield
        self.gate.stop()
        for client in (sqs, s3):
            client.close()

    def make_sensor(self, context: PollContext) -> S3EventQueue:
        options = self.bucket.options | {
            "endpoint_url": self.gate.endpoint,
            "queue_url": f"{self.gate.endpoint}{self.path}",
            "timeout": "500ms",
            "partition_pattern": r"(?P<name>file-\d+)",
            "max_messages": 10,
        }
        return S3EventQueue(S3EventQueue.Config.model_validate(options), context)

    def change(self, number: int) -> str:
        self.bucket.put(f"orders/file-{number:04} +%.csv", b"x")
        return f"file-{number:04}"

    def change_to_skip(self, number: int) -> str:
        self.bucket.put(f"orders/upload-{number:04}.tmp", b"x")
        return f"orders/upload-{number:04}.tmp"

    def settle(self) -> None:
        """Let the time pass at the server for which messages are hidden that were read."""
        super().settle()
        for message in sqs_backends[ACCOUNT]["us-east-1"].queues[self.bucket.name]._messages:
            message.change_visibility(0)

    def break_source(self) -> Any:
        return self.gate.shut()

    def hang_source(self) -> Any:
        return self.gate.hung()
