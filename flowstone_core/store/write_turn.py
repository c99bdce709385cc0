"""Write turn: the lock by which the threads of a process take turns to write to SQLite."""

from __future__ import annotations

import threading


class WriteTurn:
    """Lock of the writers of one process, which counts their turns.

    SQLite has one writer at a time. A lock is fair and immediate, where SQLite's own waiting
    sleeps and tries again.

    Attributes:
        count: Number of turns that are over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __enter__(self) -> None:
        """Wait for the turn."""
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        """End the turn, after its commit."""
        self.count += 1
        self._lock.release()

    def taken_since(self, count: int) -> bool:
        """Return True if a thread writes now, or has written since there were ``count`` turns."""
        return self._lock.locked() or self.count != count
