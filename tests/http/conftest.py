"""A real HTTP server over loopback that answers, or misbehaves, as each test says."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from flowstone_http import Webhook
from flowstone_http.config import WebhookConfig
from flowstone_http.connector import Resolve, resolve

from flowstone_core import PollContext
from flowstone_core.model.clock import SystemClock

START = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)
CANARY = "c4n4ry-Z9qXv7Kp"


class SetClock(SystemClock):
    """A wall clock that stands where it is set; monotonic time is real."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


@dataclass
class Request:
    """Request received by the server."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]


Say = Callable[[Request, socket.socket], "bytes | None"]


@dataclass
class Server:
    """Listens on loopback; each connection is one request, handled in a thread.

    Attributes:
        say: Makes the answer to a request; None if it has sent what it wanted by itself.
        seen: The requests, in order.
        going: Until this is set, what drips goes on dripping.
    """

    context: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    say: Say = lambda request, connection: Server.reply({})
    seen: list[Request] = field(default_factory=list)
    going: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._socket = socket.create_server((self.address, 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://localhost:{self.port}"

    @staticmethod
    def reply(body: object = b"", status: int = 200, **headers: str) -> bytes:
        """Write an answer, in JSON unless it is bytes; an underscore in a header is a dash."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {"Content-Length": str(len(raw)), "Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode("latin-1") + raw

    def answers(self, *replies: bytes) -> None:
        """Response with these, one after the other, the last one again and again."""
        waiting = list(replies)
        self.say = lambda request, connection: waiting.pop(0) if waiting[1:] else waiting[0]

    def close(self) -> None:
        self.going.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        with suppress(OSError, ValueError), connection:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            request = _read(connection)
            self.seen.append(request)
            answer = self.say(request, connection)
            if answer is not None:
                connection.sendall(answer)
            connection.close()


def _read(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        data += piece
        if not piece or not data[:1].isalpha():
            raise ValueError("that is no request")
    head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)
    }
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(4096)
    return Request(line, headers, body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; they are stopped after the test, and leave no thread."""
    servers: list[Server] = []

    def serve(**options: Any) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """Make what a TLS server needs, for a name, by an authority that nobody trusts yet."""

    def tls(name: str = "localhost", **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **options).configure_cert(context)
        return context

    return tls


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the proxies that the machine's environment may name."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_sensor(server: Server, clock: SetClock) -> Callable[..., Webhook]:
    """Make a sensor that asks the server; its partition is 'all' unless the test says more."""

    def make(*, look_up: Resolve = resolve, **options: Any) -> Webhook:
        given = {"url": f"{server.url}/ready", "timeout": "20s"} | options
        if not {"partition", "partition_fn"} & given.keys():
            given["partition"] = "'all'"
        config = WebhookConfig.model_validate(given)
        context = PollContext("ready", logging.getLogger("flowstone.sensor"), clock)
        return Webhook(config, context, look_up=look_up)

    return make
