"""A proxy before PostgreSQL that tells clients what a pooler tells them."""

from __future__ import annotations

import socket
from pathlib import Path

from sqlalchemy import make_url

from tests.tcp_proxy import TcpProxy

BACKEND_KEY_DATA = b"K\x00\x00\x00\x0c"


class StoreProxy(TcpProxy):
    """A proxy before a server that listens on a Unix socket.

    Attributes:
        url: The URL of a store through the proxy.
    """

    def __init__(self, url: str) -> None:
        address = make_url(url)
        super().__init__(Path(str(address.query["host"])) / ".s.PGSQL.5432")
        through = address.set(host="127.0.0.1", port=self.port).difference_update_query(["host"])
        self.url = through.render_as_string(hide_password=False)


class Pooler(StoreProxy):
    """Tells each client a process id that its session does not have, as poolers do."""

    def _connect(self) -> socket.socket:
        return _Session(super()._connect())


class _Session(socket.socket):
    """A connection to the server, with another process id in its first answers."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection.family, connection.type, fileno=connection.detach())

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        before, key, after = data.partition(BACKEND_KEY_DATA)
        return before + key + b"\x00\x00\x00\x07" + after[4:] if key else data
