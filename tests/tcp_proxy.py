"""A TCP proxy between a client and a server: delays, swallows, cuts, or cuts after a commit."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

PATIENCE = 300
COMMIT = b"COMMIT"


class TcpProxy:
    """Listens on a port of this machine, and passes connections on to a server.

    Args:
        upstream: The socket file of the server, or its host and port.

    Attributes:
        port: The port.
        connections: The number of connections that were accepted.
        commits: The number of commits whose answers were cut off.
    """

    def __init__(self, upstream: Path | tuple[str, int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = self.commits = 0
        self._mode: Literal["pass", "swallow", "refuse"] = "pass"
        self._cut_commits = 0
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._passing = threading.Event()
        self._passing.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def pass_on(self) -> None:
        """Pass all on again, first what was swallowed."""
        self._mode = "pass"
        self._passing.set()

    def swallow(self) -> None:
        """Accept and acknowledge everything, and pass nothing on: a black hole behind a proxy."""
        self._mode = "swallow"
        self._passing.clear()

    def refuse(self) -> None:
        """Cut all connections, and each new one."""
        self._mode = "refuse"
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        with self._lock:
            open_, self._open = self._open, []
        for each in open_:
            _reset(each)

    def cut_after_commits(self, number: int) -> None:
        """Let so many commits reach the server, and reset their connections before its answer."""
        with self._lock:
            self._cut_commits = number

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept
        self._accepting.join(PATIENCE)
        self._listener.close()
        self._passing.set()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    if self._mode == "refuse":
                        raise ConnectionRefusedError
                    server = self._connect()
                except OSError:
                    _reset(client)
                    continue
                with self._lock:
                    self._open += [client, server]
                doomed = threading.Event()
                for deed in (self._ask, self._answer):
                    arguments = (client, server, doomed)
                    threading.Thread(target=deed, args=arguments, daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, Path):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._upstream))
            return server
        return socket.create_connection(self._upstream)

    def _ask(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                self._passing.wait(PATIENCE)
                if COMMIT in data and self._cuts():
                    doomed.set()
                server.sendall(data)
        _end(server)

    def _answer(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                self._passing.wait(PATIENCE)
                if doomed.is_set():  # the server has committed
                    self.commits += 1
                    _end(server)
                    break
                client.sendall(data)
        _end(client)

    def _cuts(self) -> bool:
        with self._lock:
            if self._cut_commits == 0:
                return False
            self._cut_commits -= 1
            return True


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    _end(connection)
    connection.close()
