"""Responses without an end: a size limit, and no reading after the deadline of the poll."""

from __future__ import annotations

import gzip
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import botocore.loaders
import pytest
from flowstone_s3 import S3EventQueue, S3FileArrival
from flowstone_s3.bucket import Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.connection import aws_client
from flowstone_s3.errors import S3Error, S3UnavailableError
from flowstone_s3.queue_config import S3EventQueueConfig
from flowstone_s3.transport import RESPONSE_LIMIT

from flowstone_core import PollContext
from flowstone_core.errors import PollTimeoutError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"<Contents><Key>2025-01-15</Key></Contents>" * 1_000
PATIENCE = 300


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


class Endless:
    """A server whose response goes on for longer than any client should read."""

    def __init__(self) -> None:
        self.start = HEAD + chunk(b"<ListBucketResult>")
        self.piece = chunk(PIECE)
        self.before_piece: Callable[[], None] = lambda: None
        self.sent = 0
        self.closed = threading.Event()
        self.requests = 0
        endless = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                endless.handle(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def handle(self, client: socket.socket) -> None:
        client.recv(65_536)
        self.requests += 1
        try:
            client.sendall(self.start)
            # A client that reads on must not keep the test from its end.
            for _ in range(2_000):
                self.before_piece()
                client.sendall(self.piece)
                self.sent += len(self.piece)
            client.recv(1)  # all may fit into buffers: the client's end is still to come
        except OSError:
            pass  # it is closed
        self.closed.set()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endless() -> Iterator[Endless]:
    server = Endless()
    yield server
    server.stop()


def options(server: Endless) -> dict[str, Any]:
    return {
        "endpoint_url": server.url,
        "region": "us-east-1",
        "access_key": "AKIATEST",
        "secret_key": "any",
        "timeout": "5s",
    }


@pytest.fixture
def sensor(endless: Endless, clock: Any) -> Iterator[S3FileArrival]:
    config = S3FileArrivalConfig.model_validate({"bucket": "shop", **options(endless)})
    made = S3FileArrival(config, PollContext(clock=clock))
    yield made
    made.cleanup()


def test_S1_endless_listing_ends_at_the_size_limit(endless: Endless, sensor: S3FileArrival) -> None:
    with pytest.raises(S3Error, match=r"longer than 16,777,216 bytes: bucket 'shop' at .*endpoint"):
        sensor.poll(sensor.init())
    assert endless.closed.wait(PATIENCE), "the connection is closed"
    assert endless.requests == 1, "it is not tried again"
    # What is in flight comes on top.
    assert endless.sent < RESPONSE_LIMIT + 16 * 1024 * 1024


def test_S1_endless_error_ends_at_the_size_limit(endless: Endless, sensor: S3FileArrival) -> None:
    endless.start = HEAD.replace(b"200 OK", b"403 Forbidden")
    with pytest.raises(S3Error, match="longer than"):
        sensor.poll(sensor.init())


def test_S1_compressed_listing_is_not_expanded(endless: Endless) -> None:
    bomb = gzip.compress(b"<ListBucketResult>" + PIECE * 1_000)
    endless.start = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    ) + bomb

    def end() -> None:
        raise OSError

    endless.before_piece = end
    config = S3FileArrivalConfig.model_validate({"bucket": "shop", **options(endless)})
    bucket = Bucket(config, PollContext(), attempts=1)
    with pytest.raises(S3Error, match="the endpoint, or a proxy before it, fails"):
        list(bucket.list_pages([""]))
    bucket.close()


def test_S1_largest_listing_is_within_the_limit(scripted: Any) -> None:
    # 1,000 keys of 1,024 bytes, each byte of which is escaped.
    for number in range(1_000):
        scripted.put(f"{number:04}" + "&" * 1_020)
    scripted.encoded = False
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    (page,) = bucket.list_pages([""])
    assert len(page.objects) == 1_000
    bucket.close()


def test_S2_poll_past_its_deadline_stops_reading(
    endless: Endless, sensor: S3FileArrival, clock: Any
) -> None:
    def take() -> None:
        clock.uptime += 1

    endless.before_piece = take
    with sensor.context.limited(30), pytest.raises(PollTimeoutError, match="deadline of 30 s"):
        sensor.poll(sensor.init())
    assert endless.closed.wait(PATIENCE)


def test_S2_response_in_drips_ends_with_the_poll(
    endless: Endless, sensor: S3FileArrival, clock: Any
) -> None:
    endless.piece = chunk(b" ")

    def take() -> None:
        clock.uptime += 1

    endless.before_piece = take
    with pytest.raises(S3UnavailableError, match="incomplete after poll_timeout"):
        sensor.poll(sensor.init())
    assert endless.closed.wait(PATIENCE)


def test_S2_pages_without_an_end_stop_at_the_deadline(scripted: Any, clock: Any) -> None:
    for number in range(100):
        scripted.put(f"2025-01-15/{number}")
    context = PollContext(clock=clock)
    config = S3FileArrivalConfig.model_validate({**scripted.options, "poll_timeout": "1h"})
    bucket = Bucket(config, context, page_size=1)

    def take() -> None:
        clock.uptime += 1

    scripted.before_answer = take
    with context.limited(10), pytest.raises(PollTimeoutError):
        list(bucket.list_pages([""]))
    assert len(scripted.requests) <= 11
    bucket.close()


def test_S1_endless_answer_of_a_queue_ends_at_the_limit(endless: Endless, clock: Any) -> None:
    endless.start = HEAD + chunk(b'{"Messages": [')
    url = f"{endless.url}/1/orders"
    config = S3EventQueueConfig.model_validate({"queue_url": url, **options(endless)})
    sensor = S3EventQueue(config, PollContext(clock=clock))
    with pytest.raises(S3Error, match=r"longer than 16,777,216 bytes: queue 'http://"):
        sensor.poll(sensor.init())
    with sensor.context.limited(0), pytest.raises(PollTimeoutError):
        sensor.poll(sensor.init())
    sensor.cleanup()


def test_transport_broken_response_is_tried_again(endless: Endless, sensor: S3FileArrival) -> None:
    endless.piece = b"no length of a chunk\r\n"
    with pytest.raises(S3UnavailableError, match="connection broke off"):
        sensor.poll(sensor.init())
    assert endless.requests == 5


def test_transport_silent_response_is_a_timeout(endless: Endless, clock: Any) -> None:
    silence = threading.Event()
    endless.before_piece = lambda: (silence.wait(PATIENCE), None)[1]
    config = S3FileArrivalConfig.model_validate(
        {"bucket": "shop", **options(endless), "timeout": "50ms"}
    )
    bucket = Bucket(config, PollContext(clock=clock), attempts=1)
    with pytest.raises(S3UnavailableError, match="did not respond in time"):
        list(bucket.list_pages([""]))
    silence.set()
    bucket.close()


def test_clients_share_the_service_models(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = S3FileArrivalConfig.model_validate(scripted.options)
    aws_client(config, "s3", region="us-east-1", attempts=1).close()

    def read(self: object, path: str) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(botocore.loaders.JSONFileLoader, "load_file", read)
    aws_client(config, "s3", region="us-east-1", attempts=1).close()
