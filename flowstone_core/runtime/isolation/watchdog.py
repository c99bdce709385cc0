"""Watchdog: ends a process whose interpreter is blocked, and prints where its threads were.

Code that never releases the interpreter's lock freezes every thread: nothing is polled, no signal
is handled, and a lock on the store is never released. Only a timer that needs no interpreter can
end such a process: the timer of `faulthandler`, which also prints the lines at which the threads
of a crashed process were.
"""

from __future__ import annotations

import faulthandler
import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from flowstone_core.model.clock import SystemClock

STANDARD_ERROR = 2


class Watchdog:
    """Watchdog of this process, while its context is entered.

    A process whose interpreter is blocked ends with exit code 1 and prints the stacks of its
    threads. A process that was suspended by Ctrl-Z for as long ends in the same way when it
    continues.

    Args:
        patience: Shortest time for which the interpreter must be blocked.
    """

    def __init__(self, patience: timedelta) -> None:
        self._seconds = patience.total_seconds()
        self._end = SystemClock().waker()
        self._thread = threading.Thread(target=self._keep, name="flowstone-watchdog", daemon=True)

    def __enter__(self) -> Self:
        if not faulthandler.is_enabled():
            faulthandler.enable(STANDARD_ERROR)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _keep(self) -> None:
        """Set the timer again and again, while the interpreter schedules this thread."""
        while True:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STANDARD_ERROR)
            if self._end.wait(self._seconds / 4):
                return
