"""What a process holds: threads, open files and sockets, child processes."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.clock import SystemClock

_LOOK_AGAIN = 0.05


@dataclass(frozen=True)
class Holdings:
    """What this process holds at a moment.

    Attributes:
        files: What stands in the place of each open file, and how to show it.
    """

    threads: frozenset[threading.Thread]
    files: Counter[str]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Holdings:
        """Look; what nobody refers to any more is collected before."""
        gc.collect()
        threads = frozenset(threading.enumerate())
        return cls(threads, Counter(_open_files()), frozenset(_children()))

    def more_than(self, before: Holdings) -> list[str]:
        """Say what there is that there was not before."""
        threads = [f"the thread {each.name!r}" for each in self.threads - before.threads]
        files = [f"the open {name}" for name in (self.files - before.files)]
        children = [f"the child process {each}" for each in self.children - before.children]
        return [*sorted(threads), *sorted(files), *sorted(children)]


def left_behind(before: Holdings, patience: float) -> list[str]:
    """Say what is still held that was not before, as soon as it is nothing, or after a while.

    Args:
        patience: Seconds: a server in this process may take a moment to see that it was left.
    """
    clock = SystemClock()
    end = clock.monotonic() + patience
    while True:
        left = Holdings.now().more_than(before)
        if not left or clock.monotonic() >= end:
            return left
        clock.waker().wait(_LOOK_AGAIN)


def _open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return []
    found = []
    for path in list(folder.iterdir()):
        try:
            target = str(path.readlink())
        except OSError:
            continue  # the one that the listing itself had open
        if target.startswith("socket:"):
            target = _socket(int(path.name), target)
        found.append(target if target.startswith("socket") else f"file {target}")
    return found


def _socket(number: int, target: str) -> str:
    try:
        with socket.socket(fileno=os.dup(number)) as twin:
            return f"socket {_address(twin.getsockname())} to {_peer(twin)} ({target})"
    except OSError:
        return f"socket ({target})"


def _peer(twin: socket.socket) -> str:
    try:
        return _address(twin.getpeername())
    except OSError:
        return "nowhere"


def _address(address: object) -> str:
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return str(address) or "unnamed"


def _children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before it is in brackets, and may hold anything.
            facts = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(facts[1]) == os.getpid():
            found.append(int(path.parent.name))
    return found
