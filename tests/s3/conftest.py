"""Two S3 servers over real HTTP: moto, which is faithful, and one that misbehaves on demand."""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.listing import S3Object

from flowstone_core import PollContext
from flowstone_core.clock import SystemClock

SECRET = "sec/ret+key=40"
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIATEST/20250115/us-east-1/s3/aws4_request, Signature=any"
START = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)


class SetClock(SystemClock):
    """A wall clock that stands where it is set."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(autouse=True)
def aws_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide whatever AWS configuration the machine has; returns where the test may write its own."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def make_sensor(clock: SetClock) -> Iterator[Callable[..., S3FileArrival]]:
    """Make sensors; what they hold is closed after the test."""
    made: list[S3FileArrival] = []

    def make(**options: Any) -> S3FileArrival:
        config = S3FileArrivalConfig.model_validate(options)
        made.append(S3FileArrival(config, PollContext(clock=clock)))
        return made[-1]

    yield make
    for sensor in made:
        sensor.cleanup()


# --- moto -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class LiveBucket:
    """A bucket of one test on moto."""

    def __init__(self, endpoint: str) -> None:
        self.name = f"bucket-{uuid.uuid4().hex}"
        self.options = {
            "bucket": self.name,
            "endpoint_url": endpoint,
            "region": "us-east-1",
            "access_key": "AKIATEST",
            "secret_key": SECRET,
        }
        self._connection = HTTPConnection(urlsplit(endpoint).netloc)
        self._request("PUT", "")

    def put(self, key: str, body: bytes = b"x") -> None:
        self._request("PUT", key, body)

    def delete(self, key: str) -> None:
        self._request("DELETE", key)

    def last_modified(self, key: str) -> datetime:
        return parsedate_to_datetime(self._request("HEAD", key)["Last-Modified"])

    def close(self) -> None:
        self._connection.close()

    def _request(self, method: str, key: str, body: bytes = b"") -> Message:
        path = f"/{self.name}/{quote(key)}"
        self._connection.request(method, path, body, {"Authorization": SIGNED})
        response = self._connection.getresponse()
        response.read()
        assert response.status < 300, (method, key, response.status)
        return response.headers


@pytest.fixture
def bucket(moto_endpoint: str) -> Iterator[LiveBucket]:
    live = LiveBucket(moto_endpoint)
    yield live
    live.close()


# --- a server that answers as it is told ----------------------------------------------------------


@dataclass
class Refusal:
    """What to answer instead of a listing."""

    status: int
    code: str = ""
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


class ScriptedS3:
    """Lists ``objects`` in pages over HTTP, unless a refusal is waiting."""

    def __init__(self) -> None:
        self.objects: list[S3Object] = []
        self.refusals: list[Refusal] = []
        self.refuse_all: Refusal | None = None
        self.fail_after_page: int | None = None
        self.requests: list[dict[str, str]] = []
        self.token = True
        self.leave_out = ""
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.options = {
            "bucket": "shop",
            "endpoint_url": self.endpoint,
            "region": "eu-central-1",
            "access_key": "AKIATEST",
            "secret_key": SECRET,
        }

    def put(self, key: str, content: str = "x", at: datetime = START) -> None:
        self.delete(key)
        etag = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        self.objects.append(S3Object(key, etag, len(content), at))

    def delete(self, key: str) -> None:
        self.objects = [item for item in self.objects if item.key != key]

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.requests.append(dict(self.headers) | {"path": self.path})
                refusal = script.refusal(self.path)
                if refusal is None:
                    self.answer(200, script.page(self.path), {})
                elif refusal.hang:
                    script.released.wait(60)
                else:
                    body = (
                        f"<Error><Code>{refusal.code}</Code><Message>said by the server</Message>"
                        f"<AWSAccessKeyId>AKIATEST</AWSAccessKeyId></Error>"
                    )
                    if refusal.body is not None:
                        body = refusal.body
                    self.answer(refusal.status, body, refusal.headers)

            do_HEAD = do_GET  # noqa: N815 - the name is the protocol's

            def answer(self, status: int, body: str, headers: dict[str, str]) -> None:
                content = body.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def refusal(self, path: str) -> Refusal | None:
        if self.refuse_all is not None:
            return self.refuse_all
        if self.fail_after_page == _start(path):
            return Refusal(403, "ExpiredToken")
        return self.refusals.pop(0) if self.refusals else None

    def page(self, path: str) -> str:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        prefix = query.get("prefix", "")
        keys = [item for item in self.objects if item.key.startswith(prefix)]
        start, size = _start(path), int(query["max-keys"])
        end = min(start + size, len(keys))
        contents = "".join(self._entry(item) for item in keys[start:end])
        more = end < len(keys)
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token if self.token else ''}{contents}</ListBucketResult>"
        )

    def _entry(self, item: S3Object) -> str:
        at = item.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        facts = {
            "Key": quote(item.key, safe="/"),
            "LastModified": at,
            "ETag": f'"{item.etag}"',
            "Size": str(item.size),
        }
        facts.pop(self.leave_out, None)
        inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in facts.items())
        return f"<Contents>{inner}</Contents>"


def _start(path: str) -> int:
    return int(parse_qs(urlsplit(path).query).get("continuation-token", ["0"])[0])


@pytest.fixture
def scripted() -> Iterator[ScriptedS3]:
    server = ScriptedS3()
    yield server
    server.stop()


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def later() -> Callable[..., datetime]:
    """A time after the start of the test."""
    return lambda **units: START + timedelta(**units)
