"""Processes of their own for foreign code: they can be killed, and harm nobody when they crash.

A thread cannot be killed; a process can. Each child serves one object, made in it, and makes one
call at a time. Parent and child are one program and trust each other: what passes between them
is pickled by `multiprocessing`, and never stored.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

from flowstone_core.errors import ChildDiedError, ConflictError
from flowstone_core.model.safe_text import describe, printable

logger = logging.getLogger("flowstone.child")


_PRELOADED = ["flowstone_core.runtime.ticking.sensor_host"]


_LEAVE_TAKING = 5.0


class ChildProcess:
    """A process that is started at its first call, used by later ones, and made anew if it dies.

    Calls are made one at a time, by any thread; `kill` and `close` may come from another.

    Args:
        name: Of the process, for people.
        make: A function or class of a module, called in the child with ``arguments``; the calls
            are made on what it returns.
        arguments: All of them can be pickled.
    """

    def __init__(self, name: str, make: Callable[..., object], *arguments: object) -> None:
        self._name = name
        self._recipe = (make, arguments)
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection[Any, Any] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def call(self, method: str, *arguments: object) -> object:
        """Have the child call a method of its object; blocks until it has answered.

        Args:
            method: It must not raise.

        Returns:
            What it returned.

        Raises:
            ChildDiedError: If the child ends before it has answered, in whatever way.
            ConflictError: If the child was closed.
        """
        try:
            connection = self._connected()
            connection.send((method, arguments))
            while True:
                kind, value = connection.recv()
                if kind == "log":
                    _log(*value)
                elif kind == "answer":
                    answer: object = value
                    return answer
                else:
                    raise ChildDiedError(f"its process could not begin: {value}")
        except (EOFError, OSError):
            raise ChildDiedError(f"its process {self._bury()}") from None

    def kill(self, *, final: bool = False) -> None:
        """Kill the process, if there is one; a call that waits for it fails. Any thread.

        Args:
            final: Whether no other is made either.
        """
        with self._lock:
            self._closed = self._closed or final
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process, and make no other; it is killed if it takes longer than a moment."""
        with self._lock:
            self._closed = True
            process, connection = self._process, self._connection
        if connection is not None:
            connection.close()
        if process is not None:
            process.join(_LEAVE_TAKING)
            self._bury()

    def _connected(self) -> Connection[Any, Any]:
        with self._lock:
            if self._closed:
                raise ConflictError("its process has been ended")
            if self._connection is not None and _listens(self._connection):
                return self._connection
        if self._process is not None:
            extra = {"child": self._name, "end": self._bury()}
            logger.warning("a process ended between two calls; another is started", extra=extra)
        with self._lock:
            self._process, self._connection = self._start()
            connection = self._connection
        connection.send(self._recipe)
        return connection

    def _start(self) -> tuple[BaseProcess, Connection[Any, Any]]:
        context = _context()
        ours, theirs = context.Pipe()
        level = logging.getLogger("flowstone").getEffectiveLevel()
        process = context.Process(target=_serve, args=(theirs, level), name=self._name)
        process.start()
        theirs.close()
        _living.add(self)
        return process, ours

    def _bury(self) -> str:
        """Make sure that it has ended, and say how it did."""
        with self._lock:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if process is None or connection is None:
            return "was ended"
        connection.close()
        process.join(_LEAVE_TAKING)
        if process.is_alive():
            process.kill()
            process.join()
        return _end(process)


def refuse_in_child() -> None:
    """Keep a script from running as a whole once more in each child that imports it.

    Raises:
        ConflictError: If this process is a child that has not begun yet.
    """
    # As multiprocessing itself tells it, where a process is started.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        hint = "put what runs FlowStone below: if __name__ == '__main__':"
        raise ConflictError("this script is imported by a process that it has started", hint=hint)


def _listens(connection: Connection[Any, Any]) -> bool:
    """Say whether the child still lives; log what it has logged since its last answer."""
    try:
        while connection.poll():
            kind, value = connection.recv()
            if kind == "log":
                _log(*value)
    except (EOFError, OSError):
        return False
    return True


def _end(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "of no name"
    told = f"was killed by signal {-code} ({name})"
    return f"{told}: perhaps there was no memory left" if name == "SIGKILL" else told


def _context() -> ForkServerContext | SpawnContext:
    # A server that forks makes a child in some 10 ms, and is safe: it has no threads.
    if "forkserver" in multiprocessing.get_all_start_methods():
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(_PRELOADED)
        return server
    return multiprocessing.get_context("spawn")


_living: WeakSet[ChildProcess] = WeakSet()


@atexit.register
def _end_all() -> None:
    # Registered after multiprocessing's own, so called before it: that one waits for children.
    for child in list(_living):
        child.kill()


# -- in the child ----------------------------------------------------------------------------------


def _serve(connection: Connection[Any, Any], level: int) -> None:
    # A signal for the whole group, as Ctrl-C sends it, is the parent's business: it ends us when
    # what runs has ended.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, name="flowstone-parent", daemon=True).start()
    send = _forward_logs(connection, level)
    try:
        make, arguments = connection.recv()
        served = make(*arguments)
    except BaseException as error:  # noqa: BLE001 - foreign modules are imported here
        send("failure", describe(error))
        return
    with suppress(EOFError, OSError):
        while True:
            method, given = connection.recv()
            send("answer", getattr(served, method)(*given))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _forward_logs(connection: Connection[Any, Any], level: int) -> Callable[[str, object], None]:
    """Send log lines to the parent.

    Returns:
        What sends other messages beside them.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    forwarder = _Forwarder(connection)
    root.addHandler(forwarder)
    logging.getLogger("flowstone").setLevel(level)
    return forwarder.send


class _Forwarder(logging.Handler):
    """Sends records to the parent, as texts; any thread, one message at a time."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        super().__init__()
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, kind: str, value: object) -> None:
        with self._sending:
            self._connection.send((kind, value))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text = f"{text}: {describe(record.exc_info[1])}"
            given = vars(record).items()
            ids = {key: _plain(value) for key, value in given if key not in _RECORD_FIELDS}
            self.send("log", (record.name, record.levelno, text, ids))
        except Exception:  # noqa: BLE001, S110 - a line that cannot be sent must not fail a poll
            pass


_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _plain(value: object) -> object:
    return value if type(value) in {str, int, float, bool, type(None)} else str(value)


def _log(name: str, level: int, text: str, ids: dict[str, object]) -> None:
    logging.getLogger(name).log(level, "%s", printable(text, 10_000), extra=ids)


if sys.platform == "win32":  # pragma: no cover - nothing is preloaded where nothing forks
    _PRELOADED.clear()
