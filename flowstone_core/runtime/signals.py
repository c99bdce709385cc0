"""Signal handlers of a process that runs work: SIGINT, SIGTERM and SIGHUP stop it gracefully."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform != "win32":
    SIGNALS += (signal.SIGHUP,)

_HANGUP = "SIGHUP"

_replaced: dict[signal.Signals, signal._HANDLER] = {}
"""The handlers that stood where FlowStone's stand now."""


class StopSignals:
    """Handlers of SIGINT, SIGTERM and SIGHUP, installed while the context is entered.

    The first signal stops gracefully. A later SIGINT or SIGTERM ends the process at once; a later
    SIGHUP does not, because a terminal that is closed sends several. A process that was started
    with SIGHUP ignored, as nohup does, goes on ignoring SIGHUP.

    In another thread than the main thread entering does nothing: only the main thread may install
    handlers. A child process that is forked meanwhile has the handlers that stood before.

    Args:
        stop: Called at the first signal, in the handler: it must not take a lock.

    Attributes:
        received: The first signal that has come, or None.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            wanted = (each for each in SIGNALS if not _is_ignored_hangup(each))
            _replace(wanted, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            _restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        found = signal.Signals(number)
        if self.received is None:
            self.received = found
            because = " because of SIGHUP" if found.name == _HANGUP else ""
            _print(f"flowstone: stopping{because}; a second signal stops at once\n")
            self._stop()
        elif found.name != _HANGUP:
            # Nothing may delay this: not a hung thread, not a lock, not an exit handler.
            _print("flowstone: stopped at once by a second signal\n")
            os._exit(128 + number)


def leave_signals_to_parent() -> None:
    """Do nothing at the signals that stop a runner; for its child processes.

    A signal for the whole process group, as Ctrl-C sends it, is handled by the parent. A program
    that the child starts gets the signals as usual, which it would not if they were ignored.
    """
    wanted = [each for each in SIGNALS if not _is_ignored_hangup(each)]
    _replace(wanted, _do_nothing)
    if sys.platform != "win32":
        for number in wanted:
            signal.siginterrupt(number, False)  # noqa: FBT003


def _do_nothing(number: int, frame: FrameType | None) -> None:
    del number, frame


def _is_ignored_hangup(number: signal.Signals) -> bool:
    return number.name == _HANGUP and signal.getsignal(number) is signal.SIG_IGN


def _replace(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> None:
    for number in numbers:
        before = signal.signal(number, handler)
        # None: it was installed by C code, and cannot be put back.
        _replaced.setdefault(number, signal.SIG_DFL if before is None else before)


def _restore() -> None:
    while _replaced:
        number, before = _replaced.popitem()
        signal.signal(number, before)


def _print(text: str) -> None:
    """Write to standard error, unless that would block or fail: nothing may keep the handler."""
    with suppress(OSError, ValueError):
        _, writable, _ = select.select([], [2], [], 0)
        if writable:
            os.write(2, text.encode())


if sys.platform != "win32":
    _masks = threading.local()

    def _block() -> None:
        # A child may be ended before it has its handlers: the signal waits until then.
        if _replaced:
            _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _unblock() -> None:
        before = vars(_masks).pop("before", None)
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _become_child() -> None:
        _restore()
        _unblock()

    # Pools and processes of asset functions: a child that inherits the handlers cannot be ended
    # by SIGTERM.
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_become_child)
