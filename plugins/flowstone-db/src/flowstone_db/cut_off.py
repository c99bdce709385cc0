"""Cut-off: the end of a connection whose poll is past its deadline.

A server that has stopped to respond, or that sends a byte now and then, keeps a driver waiting:
its time limits are those of one statement, or of one read. At the deadline of the poll the socket
is shut down from another thread, so that the driver's next read fails.
"""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GRACE = 1.0
"""Seconds after the deadline, for the database's own limits, which leave the connection usable."""


class CutOff:
    """Cut-off of one connection at a time."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def watch(self, connection: Any, _: object = None) -> None:
        """Watch a driver's connection instead of the one before."""
        self.forget()
        descriptor = _descriptor(connection)
        if descriptor is not None:
            # A duplicate: the driver may close its descriptor, whose number another file then gets.
            self._socket = socket.socket(fileno=os.dup(descriptor))

    def forget(self, *_: object) -> None:
        """Stop watching a connection, which is closed."""
        watched, self._socket = self._socket, None
        if watched is not None:
            watched.close()

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """Shut the watched connection down if the body takes longer.

        Args:
            seconds: Seconds until the deadline; infinite for no cut-off.
        """
        if math.isinf(seconds):
            yield
            return
        timer = threading.Timer(seconds + GRACE, self._shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _shut_down(self) -> None:
        watched = self._socket
        if watched is not None:
            with suppress(OSError):  # closed meanwhile
                watched.shutdown(socket.SHUT_RDWR)


def _descriptor(connection: Any) -> int | None:
    if hasattr(connection, "fileno"):  # psycopg
        return int(connection.fileno())
    opened = getattr(connection, "_sock", None)  # PyMySQL has no public name for it
    return None if opened is None else int(opened.fileno())
