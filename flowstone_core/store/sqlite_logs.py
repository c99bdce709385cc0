"""SQLite logs: notices when ``-wal`` or ``-shm`` is deleted or replaced while it is in use.

SQLite keeps using a deleted log without an error, and other processes would write another one: the
commits of both would be lost when the first process is killed.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import TypeAlias

SUFFIXES = ("-wal", "-shm")
"""The log, and the index of it that processes share."""

_Identity: TypeAlias = tuple[int, int] | None
_Identities: TypeAlias = tuple[_Identity, ...]


class LogFiles:
    """The logs beside an SQLite file, which stay the same while any connection is open.

    Args:
        file: The SQLite file.
    """

    def __init__(self, file: Path) -> None:
        self._paths = tuple(f"{file}{suffix}" for suffix in SUFFIXES)
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._identities: _Identities | None = None

    def opened(self, connection: sqlite3.Connection) -> None:
        """Add a connection in WAL mode that has read once: its logs exist."""
        with self._lock:
            if not self._open:
                self._identities = tuple(identity(path) for path in self._paths)
            self._open.add(id(connection))

    def closing(self, connection: sqlite3.Connection) -> None:
        """Remove a connection before it is closed: SQLite deletes the logs with the last one."""
        with self._lock:
            self._open.discard(id(connection))
            if not self._open:
                self._identities = None

    def lost(self) -> str | None:
        """Return the path of a log that is not the one in use; None if there is none."""
        expected = self._identities
        if expected is None:
            return None
        for path, known in zip(self._paths, expected, strict=True):
            # Another thread may have closed the last connection meanwhile.
            if identity(path) != known and self._identities is expected:
                return path
        return None


def identity(path: str | Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None if there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a quarter of what Path.stat costs
    except OSError:
        return None
    return found.st_dev, found.st_ino
