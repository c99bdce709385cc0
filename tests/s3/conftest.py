"""Three servers of S3 over real HTTP: two faithful ones, and one that misbehaves on demand."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.config import Config
from flowstone_s3 import S3EventQueue, S3FileArrival
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.listing import S3Object
from flowstone_s3.queue_config import S3EventQueueConfig

from flowstone_core import PollContext
from flowstone_core.model.clock import SystemClock
from tests.s3.queue_support import Live, Make

SECRET = "sec/ret+key=40"
START = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)


class SetClock(SystemClock):
    """Clocks that stand where they are set."""

    def __init__(self) -> None:
        self.time = START
        self.uptime = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.uptime


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(autouse=True, scope="session")
def shared_service_models() -> Iterator[None]:
    """Share one loader of service models; each boto3 session would parse 3 MB of JSON again."""
    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda *_: loader)
        yield


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


# --- two servers that are faithful ----------------------------------------------------------------


@dataclass
class Server:
    """A server of S3 that was written by others, and a client that puts things there."""

    name: str
    endpoint: str
    key: str
    client: Any


def _client(endpoint: str, key: str, secret: str) -> Any:
    # What another program uploads: neither the sensor's own client, nor its settings.
    return boto3.session.Session(key, secret, region_name="us-east-1").client(
        "s3",
        endpoint_url=endpoint,
        config=Config(request_checksum_calculation="when_required"),
    )


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def moto(moto_endpoint: str) -> Iterator[Server]:
    client = _client(moto_endpoint, "AKIATEST", SECRET)
    yield Server("moto", moto_endpoint, "AKIATEST", client)
    client.close()


def _s3rver_program() -> str | None:
    beside = Path(__file__, "../../../node_modules/.bin/s3rver").resolve()
    named = os.environ.get("FLOWSTONE_S3RVER") or shutil.which("s3rver")
    return named or (str(beside) if beside.exists() else None)


@pytest.fixture(scope="session")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = _s3rver_program()
    if program is None:
        pytest.skip("no s3rver: npm install s3rver, and name its program by FLOWSTONE_S3RVER")
    folder = str(tmp_path_factory.mktemp("s3rver"))
    command = [program, "-d", folder, "-a", "127.0.0.1", "-p", "0", "--no-vhost-buckets"]
    # Its digests are of an OpenSSL that Node has left behind.
    environ = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = next(line for line in process.stdout if "listening on" in line)
            endpoint = f"http://{told.split()[-1]}"
            client = _client(endpoint, "S3RVER", "S3RVER")
            yield Server("s3rver", endpoint, "S3RVER", client)
            client.close()
        finally:
            process.kill()


class LiveBucket:
    """A bucket of one test on a faithful server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = server.client
        self.name = f"bucket-{uuid.uuid4().hex}"
        self.options = {
            "bucket": self.name,
            "endpoint_url": server.endpoint,
            "region": "us-east-1",
            "access_key": server.key,
            "secret_key": SECRET if server.name == "moto" else server.key,
        }
        self.client.create_bucket(Bucket=self.name)

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def last_modified(self, key: str) -> datetime:
        found: datetime = self.client.head_object(Bucket=self.name, Key=key)["LastModified"]
        return found

    def begin_upload(self, key: str, body: bytes) -> Callable[[], None]:
        """Upload the one part of an object; returns what completes it."""
        names = {"Bucket": self.name, "Key": key}
        upload = self.client.create_multipart_upload(**names)["UploadId"]
        part = self.client.upload_part(**names, UploadId=upload, PartNumber=1, Body=body)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}

        def complete() -> None:
            self.client.complete_multipart_upload(**names, UploadId=upload, MultipartUpload=parts)

        return complete


@pytest.fixture
def moto_bucket(moto: Server) -> LiveBucket:
    return LiveBucket(moto)


@pytest.fixture(params=["moto", "s3rver"])
def bucket(request: pytest.FixtureRequest) -> LiveBucket:
    """A bucket on each of two servers that have nothing in common.

    They differ in this: moto encodes keys in its listings, knows versions, and cannot store a
    line break in a key; s3rver lists keys as they are, so that one with a control character makes
    its listing no XML, stores keys as files, whose names have 255 bytes at most, and checks who
    asks. Neither knows expected owners, or minds who pays.
    """
    return LiveBucket(request.getfixturevalue(request.param))


# --- a server that answers as it is told ----------------------------------------------------------


@dataclass
class Refusal:
    """Response to send instead of a listing."""

    status: int
    code: str = ""
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


class ScriptedS3:
    """Lists ``objects`` in pages over HTTP, unless a refusal is waiting."""

    def __init__(self) -> None:
        self.objects: list[S3Object] = []
        self._keys: set[str] = set()
        self.refusals: list[Refusal] = []
        self.refuse_all: Refusal | None = None
        self.fail_after_page: int | None = None
        self.requests: list[dict[str, str]] = []
        self.token = True
        self.spell: Callable[[str], str] = str.lower
        self.leave_out = ""
        self.encoded = True
        self.date: str | None = "Wed, 15 Jan 2025 12:00:30 GMT"
        self.before_answer: Callable[[], None] = lambda: None
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

    def put(
        self, key: str, content: str = "x", at: datetime = START, size: int | None = None
    ) -> None:
        if key in self._keys:
            self.delete(key)
        self._keys.add(key)
        etag = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        self.objects.append(S3Object(key, etag, len(content) if size is None else size, at))

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
                script.before_answer()
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
                self.send_response_only(status)
                if script.date is not None:
                    self.send_header("Date", script.date)
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
            f"{'<EncodingType>url</EncodingType>' if self.encoded else ''}"
            f"<IsTruncated>{self.spell(str(more))}</IsTruncated>"
            f"{token if self.token else ''}{contents}</ListBucketResult>"
        )

    def _entry(self, item: S3Object) -> str:
        at = item.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        facts = {
            "Key": quote(item.key, safe="/") if self.encoded else item.key,
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


# --- a queue --------------------------------------------------------------------------------------


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
