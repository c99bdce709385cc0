"""Log writer: writes lines to a stream in a thread, so that no line blocks the thread it is from.

Standard error may be a pipe that nobody reads, or a terminal that is stopped: a write to it then
waits for ever, and with it whatever logs: the scheduler, the heartbeat, a signal handler.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import TextIO

WAITING_LIMIT = 10_000
"""Most lines that wait for the stream; beyond it new ones are dropped and counted."""

FLUSH_SECONDS = 1.0
"""Longest wait of a process at its end for lines that the stream does not take."""


class LogWriter:
    """Writer of lines to a stream, from any thread; lost lines are counted and reported.

    Args:
        stream: The stream.
        background: Write in a thread: `write` returns at once, whatever the stream does.
        waiting_limit: Most lines that wait for the thread.
    """

    def __init__(
        self, stream: TextIO, *, background: bool = False, waiting_limit: int = WAITING_LIMIT
    ) -> None:
        self._stream = stream
        self._background = background
        self._limit = waiting_limit
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._busy = False
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Write a line, or queue it for the thread."""
        if not self._background or os.getpid() != self._process:  # the thread is the parent's
            self._put(line)
            return
        with self._changed:
            if len(self._lines) >= self._limit:
                self._dropped += 1
                return
            self._lines.append(line)
            self._start()
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until the stream has taken the lines.

        Args:
            seconds: Longest wait, in real time, for the stream to take one more line.

        Returns:
            False if lines are left.
        """
        if not self._background or os.getpid() != self._process:
            return True
        with self._changed:
            while self._lines or self._busy:
                if not self._changed.wait(seconds):
                    return False
        return True

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="flowstone-log", daemon=True)
            # Where the system refuses a thread, the lines wait for the next one.
            with suppress(RuntimeError, MemoryError):
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                self._busy = True
                line = self._lines.popleft()
            self._put(line)

    def _put(self, line: str) -> None:
        try:
            self._send(line)
            lost, self._dropped = self._dropped, 0
            if lost:
                self._send(f"flowstone: {lost} log lines lost: standard error did not take them\n")
        except Exception:  # noqa: BLE001 - nowhere else to report it
            self._dropped += 1

    def _send(self, line: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        data = line.encode(encoding, "backslashreplace")
        number = _descriptor(self._stream) if self._background else None
        if number is None:
            self._stream.write(data.decode(encoding))
            self._stream.flush()
            return
        # Not through the stream's buffer: a thread that waits there holds its lock, and the
        # interpreter needs the lock at its end.
        while data:
            data = data[os.write(number, data) :]


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError):  # a stream in memory
        return None
