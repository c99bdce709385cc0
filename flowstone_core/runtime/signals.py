"""Signal handlers of a process that runs work: SIGINT and SIGTERM stop it gracefully."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Handlers of SIGINT and SIGTERM, installed while the context is entered.

    The first signal stops gracefully, the second ends the process at once. In another thread
    than the main thread entering does nothing: only the main thread may install handlers.

    Args:
        stop: Called at the first signal, in the handler: it must not take a lock.

    Attributes:
        received: True once a signal has come.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self.received = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received:
            # Nothing may delay this: not a hung thread, not a lock, not an exit handler.
            os.write(2, b"flowstone: stopped at once by a second signal\n")
            os._exit(128 + number)
        self.received = True
        os.write(2, b"flowstone: stopping; a second signal stops at once\n")
        self._stop()
