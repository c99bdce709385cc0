"""Deadline of a whole exchange, enforced on every socket operation.

A socket's time-out applies to each read, so a server that sends a byte now and then never exceeds
it. Here every read and write gets the remaining time of one deadline.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import Any

from flowstone_http.errors import HttpTimeoutError


class Deadline:
    """Deadline of one exchange.

    Args:
        monotonic: A monotonic clock, in seconds.
        seconds: The time from now.
    """

    def __init__(self, monotonic: Callable[[], float], seconds: float) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._end = monotonic() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds, always positive.

        Raises:
            HttpTimeoutError: If the deadline has passed.
        """
        left = self._end - self._monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> HttpTimeoutError:
        """Return the error of a passed deadline."""
        return HttpTimeoutError(
            f"response incomplete after {self._seconds:g} s",
            hint="polls go on; raise timeout, and the sensor's deadline, if the server is slow",
        )


class TimedSocket:
    """Connected socket, or TLS over one, whose every wait ends at the deadline.

    Args:
        sock: The socket of urllib3.
        deadline: The deadline of the exchange.
    """

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: the deadline sets the time-out."""

    def sendall(self, data: Any) -> None:
        """Send all data within the remaining time."""
        self._sock.settimeout(self._deadline.remaining())
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise self._deadline.passed() from None

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """Return a file to read from, for `http.client`."""
        return io.BufferedReader(_TimedFile(self._sock, self._deadline))


class _TimedFile(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        # The socket counts its files, and stays open until the last one is closed.
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
