"""File watch: tells when a file is written to, where the system does: inotify, on Linux."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Self

_IN_MODIFY = 0x2


class FileWatch:
    """Watch of one file; readable for `select` once the file was written to.

    Args:
        number: The file descriptor of the watch; closed with it.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Return a watch of a file; None where the system has none, or no more of them."""
        if sys.platform != "linux":
            return None
        try:
            libc = ctypes.CDLL(None)
            number = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except (AttributeError, OSError):
            return None
        if number < 0:
            return None
        if libc.inotify_add_watch(number, os.fsencode(path), _IN_MODIFY) < 0:
            os.close(number)
            return None
        return cls(number)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._number

    def clear(self) -> None:
        """Forget what was written until now."""
        with suppress(BlockingIOError):
            os.read(self._number, 65_536)

    def close(self) -> None:
        """End the watch."""
        os.close(self._number)
