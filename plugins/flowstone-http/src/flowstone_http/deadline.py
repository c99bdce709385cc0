"""One deadline over a whole exchange, whatever it waits for.

A socket's own time-out is for each read, so a server that sends a byte now and then is never too
late. Here every read and write gets what is left of the one deadline, no more.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import Any

from flowstone_http.errors import HttpTimeoutError


class Deadline:
    """What is left of the time for one exchange.

    Args:
        monotonic: Reads seconds that never go back.
        seconds: How long it may take from now.
    """

    def __init__(self, monotonic: Callable[[], float], seconds: float) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._end = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, always more than none.

        Raises:
            HttpTimeoutError: If none are.
        """
        left = self._end - self._monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> HttpTimeoutError:
        """Return the error that says so."""
        return HttpTimeoutError(
            f"the whole answer was not there after {self._seconds:g} s",
            hint="polls go on; raise timeout, and the sensor's deadline, if the server is slow",
        )


class TimedSocket:
    """A connected socket, or TLS over one, whose every wait ends with the deadline.

    Args:
        sock: The socket, as urllib3 made it.
        deadline: Of the exchange.
    """

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: the time-out is what the deadline leaves."""

    def sendall(self, data: Any) -> None:
        """Send it all, in the time that is left."""
        self._sock.settimeout(self._deadline.remaining())
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise self._deadline.passed() from None

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """Return a file to read from, as `http.client` asks for one."""
        return io.BufferedReader(_TimedFile(self._sock, self._deadline))


class _TimedFile(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        # Its own count of who still reads keeps the socket open until the last has closed.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        try:
            return self._file.readinto(buffer)
        except TimeoutError:
            raise self._deadline.passed() from None

    def close(self) -> None:
        self._file.close()
        super().close()
