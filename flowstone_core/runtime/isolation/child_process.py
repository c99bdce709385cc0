"""Child process: runs foreign code in a process that can be killed, and may crash alone.

A thread cannot be killed; a process can. Each child serves one object, created in it, and runs
one call at a time. Parent and child are one program and trust each other: messages between them
are pickled by `multiprocessing`, and never stored.
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
from flowstone_core.runtime.signals import leave_signals_to_parent

logger = logging.getLogger("flowstone.child")


_PRELOADED = [
    "flowstone_core.runtime.isolation.fork_server",
    "flowstone_core.runtime.ticking.sensor_host",
]


_JOIN_SECONDS = 5.0
"""Longest wait for the end of a child that was asked to end, before it is killed."""


class ChildProcess:
    """Child process that is started at its first call, reused, and started again if it dies.

    Calls are made one at a time, by any thread; `kill` and `close` may be called by another.

    Args:
        name: Name of the process.
        factory: A function or class of a module, called in the child with ``arguments``; the
            calls are made on the object that it returns.
        arguments: Arguments of the factory; all of them can be pickled.
    """

    def __init__(self, name: str, factory: Callable[..., object], *arguments: object) -> None:
        self._name = name
        self._recipe = (factory, arguments)
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Id of the process; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def call(self, method: str, *arguments: object) -> object:
        """Call a method of the child's object; blocks until the child has answered.

        Args:
            method: Name of the method; the method must not raise.

        Returns:
            The return value of the method.

        Raises:
            ChildDiedError: If the child ends before it has answered, for any reason.
            ConflictError: If the child was closed.
        """
        try:
            pipe = self._connected()
            pipe.send((method, arguments))
            while True:
                kind, value = pipe.recv()
                if kind == "log":
                    _log(*value)
                elif kind == "answer":
                    answer: object = value
                    return answer
                else:
                    raise ChildDiedError(f"its process could not start: {value}")
        except (EOFError, OSError):
            raise ChildDiedError(f"its process {self._ensure_ended()}") from None

    def kill(self, *, final: bool = False) -> None:
        """Kill the process, if there is one; a call that waits for it fails. Any thread.

        Args:
            final: Never start another process.
        """
        with self._lock:
            self._closed = self._closed or final
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process for good; kill it if it has not ended after 5 seconds."""
        with self._lock:
            self._closed = True
            process, pipe = self._process, self._pipe
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.join(_JOIN_SECONDS)
            self._ensure_ended()

    def _connected(self) -> Connection[Any, Any]:
        with self._lock:
            if self._closed:
                raise ConflictError("its process was closed")
            if self._pipe is not None and _is_alive(self._pipe):
                return self._pipe
        if self._process is not None:
            extra = {"child": self._name, "end": self._ensure_ended()}
            logger.warning("child process ended between two calls; starting another", extra=extra)
        with self._lock:
            self._process, self._pipe = self._start()
            pipe = self._pipe
        pipe.send(self._recipe)
        return pipe

    def _start(self) -> tuple[BaseProcess, Connection[Any, Any]]:
        context = _context()
        ours, theirs = context.Pipe()
        level = logging.getLogger("flowstone").getEffectiveLevel()
        process = context.Process(target=_serve, args=(theirs, level), name=self._name)
        process.start()
        theirs.close()
        _alive_children.add(self)
        return process, ours

    def _ensure_ended(self) -> str:
        """Make sure that the process has ended; return how it ended."""
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if process is None or pipe is None:
            return "was ended"
        pipe.close()
        process.join(_JOIN_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        return _describe_exit(process)


def refuse_in_child() -> None:
    """Prevent a script from running once more in each child process that imports it.

    Raises:
        ConflictError: If this process is a child that is still importing the script.
    """
    # The mark that multiprocessing itself checks before it starts a process.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        hint = "put what runs FlowStone below: if __name__ == '__main__':"
        raise ConflictError(
            "this script was imported by a child process that it started", hint=hint
        )


def _is_alive(pipe: Connection[Any, Any]) -> bool:
    """Return True if the child is alive; log its log lines since its last answer."""
    try:
        while pipe.poll():
            kind, value = pipe.recv()
            if kind == "log":
                _log(*value)
    except (EOFError, OSError):
        return False
    return True


def _describe_exit(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown signal"
    told = f"was killed by signal {-code} ({name})"
    return f"{told}: perhaps out of memory" if name == "SIGKILL" else told


def _context() -> ForkServerContext | SpawnContext:
    # The fork server starts a child in about 10 ms, and is safe to fork: it has no threads.
    if "forkserver" in multiprocessing.get_all_start_methods():
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(_PRELOADED)
        return server
    return multiprocessing.get_context("spawn")


_alive_children: WeakSet[ChildProcess] = WeakSet()


@atexit.register
def _end_all() -> None:
    # Registered after the handler of multiprocessing, so called before it: that one waits for
    # children.
    for child in list(_alive_children):
        child.kill()


# -- in the child ----------------------------------------------------------------------------------


def _serve(pipe: Connection[Any, Any], level: int) -> None:
    # The parent ends this process when the running call has ended.
    leave_signals_to_parent()
    threading.Thread(target=_die_with_parent, name="flowstone-parent", daemon=True).start()
    forwarder = _forward_logs(pipe, level)
    send = forwarder.send
    try:
        factory, arguments = pipe.recv()
        served = factory(*arguments)
        # The parent knows the secrets of the configuration, not those that this process learns.
        forwarder.redact = getattr(served, "redact", str)
    except BaseException as error:  # noqa: BLE001 - foreign modules are imported here
        with suppress(OSError):  # the parent has died, and waits for no answer
            send("failure", describe(error))
        return
    with suppress(EOFError, OSError):
        while True:
            method, given = pipe.recv()
            send("answer", getattr(served, method)(*given))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _forward_logs(pipe: Connection[Any, Any], level: int) -> _Forwarder:
    """Forward log lines to the parent; return the handler, which sends other messages too."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    forwarder = _Forwarder(pipe)
    root.addHandler(forwarder)
    logging.getLogger("flowstone").setLevel(level)
    return forwarder


class _Forwarder(logging.Handler):
    """Log handler that sends records to the parent as text; any thread, one message at a time."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        super().__init__()
        self._pipe = pipe
        self._sending = threading.Lock()
        self.redact: Callable[[str], str] = str

    def send(self, kind: str, value: object) -> None:
        with self._sending:
            self._pipe.send((kind, value))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text = f"{text}: {describe(record.exc_info[1])}"
            given = vars(record).items()
            ids = {key: self._plain(value) for key, value in given if key not in _RECORD_FIELDS}
        except Exception as error:  # noqa: BLE001 - arguments may not fit, or raise anything
            text = f"cannot render a log record: {describe(error)}"
            ids = {"at": f"{record.pathname}:{record.lineno}"}
        with suppress(OSError):  # the parent is gone, and this process ends
            self.send("log", (record.name, record.levelno, self.redact(text), ids))

    def _plain(self, value: object) -> object:
        return value if type(value) in _PLAIN else self.redact(str(value))


_PLAIN = frozenset({int, float, bool, type(None)})
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _log(name: str, level: int, text: str, ids: dict[str, object]) -> None:
    logging.getLogger(name).log(level, "%s", printable(text, 10_000), extra=ids)


if sys.platform == "win32":  # pragma: no cover - nothing is preloaded where nothing forks
    _PRELOADED.clear()
