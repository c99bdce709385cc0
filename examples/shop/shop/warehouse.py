"""The warehouse next door: a small web server that lists the days with a count of stock."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Warehouse(ThreadingHTTPServer):
    """Answers every GET with the days that are counted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.counted: list[date] = []

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.server_port}/stock"


class _Handler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_GET(self) -> None:
        """Say which days are counted."""
        answer = json.dumps({"counted": [f"{day}" for day in self.server.counted]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def warehouse() -> Iterator[Warehouse]:
    """Have the warehouse open."""
    with Warehouse() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
