"""Leak detection: the threads, files, sockets and children that a block of code leaves."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.model.clock import SystemClock

_LOOK_AGAIN = 0.05


@contextmanager
def assert_no_leaks(patience: float = 10.0) -> Iterator[None]:
    """Fail if the block leaves threads, processes, files, sockets or temporary files behind.

    What the block uses for the first time may make something for the rest of the process: a thread
    pool of a library, the fork server of `multiprocessing`. Do it once before.

    While the block runs, `tempfile` makes everything in a separate folder, so that files of other
    processes are not counted, and the folder is removed at the end. Open files and child processes
    are found where there is a ``/proc``: on Linux.

    Args:
        patience: Seconds for which is waited until everything is gone; they pass only where
            something is not.

    Raises:
        AssertionError: If something is left; it names each thing. What the block itself raises
            passes, and nothing is looked for then.

    Example:
        >>> from flowstone_core import Flowstone, Pipeline
        >>> from flowstone_core.testing import assert_no_leaks
        >>> with assert_no_leaks():
        ...     with Flowstone(Pipeline("shop"), store="sqlite://") as flow:
        ...         finished = flow.run(once=True)
    """
    gc.collect()
    before = Holdings.now()
    with _own_temporary_files() as folder:
        yield
        left = left_behind(before, patience, folder)
    if left:
        raise AssertionError("the block left behind: " + ", ".join(left))


@dataclass(frozen=True)
class Holdings:
    """Resources that this process holds at a moment.

    Attributes:
        files: The identity of each open file, and the text that shows it.
        children: Each child process, with the name of its program.
        temporary: The files in the folder for temporary ones, if there is one.
    """

    threads: frozenset[threading.Thread]
    files: Counter[str]
    children: frozenset[tuple[int, str]]
    temporary: frozenset[Path] = frozenset()

    @classmethod
    def now(cls, temporary: Path | None = None) -> Holdings:
        """Take stock; a resource that only garbage holds is held, too."""
        threads = frozenset(threading.enumerate())
        made = frozenset() if temporary is None else frozenset(temporary.rglob("*"))
        return cls(threads, Counter(_open_files()), frozenset(_children()), made)

    def more_than(self, before: Holdings) -> list[str]:
        """Return the resources that were not held before."""
        threads = [f"the thread {each.name!r}" for each in self.threads - before.threads]
        files = [f"the open {name}" for name in (self.files - before.files)]
        children = [
            f"the child process {number} ({name})"
            for number, name in self.children - before.children
        ]
        made = [f"the temporary file {each}" for each in self.temporary - before.temporary]
        return [*sorted(threads), *sorted(files), *sorted(children), *sorted(made)]


def left_behind(before: Holdings, patience: float, temporary: Path | None = None) -> list[str]:
    """Return the resources held now and not before; wait until there are none, or time is up.

    Args:
        patience: Seconds: a server in this process may take a moment to see that it was left.
        temporary: A folder for temporary files, whose files are counted too.
    """
    clock = SystemClock()
    end = clock.monotonic() + patience
    while True:
        left = Holdings.now(temporary).more_than(before)
        if left:  # a collection takes long in a large process: only where it may help
            gc.collect()
            left = Holdings.now(temporary).more_than(before)
        if not left or clock.monotonic() >= end:
            return left
        clock.waker().wait(_LOOK_AGAIN)


@contextmanager
def _own_temporary_files() -> Iterator[Path]:
    """Direct the temporary files of this process and its children into a folder."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="flowstone-leaks-") as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before
            if variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = variable


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


def _children() -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name is in brackets, and may hold anything.
            name, _, facts = path.read_text("utf-8", "replace").rpartition(")")
        except OSError:
            continue
        if int(facts.split()[1]) == os.getpid():
            found.append((int(path.parent.name), name.partition("(")[2]))
    return found
