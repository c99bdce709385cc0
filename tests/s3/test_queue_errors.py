"""Failures of the queue: what SQS refuses, and what each error names."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pydantic
import pytest
from flowstone_s3.errors import CredentialsError, S3Error, S3UnavailableError
from flowstone_s3.queue_config import S3EventQueueConfig

from flowstone_core import (
    SensorBroken,
)
from tests.s3.queue_support import SECRET, Live, Make, keys, notice


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
