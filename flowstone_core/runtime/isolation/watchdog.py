"""What has the last word of a process that crashes, or whose interpreter stands still.

Code that never lets go of the interpreter's lock freezes every thread: nothing is polled, no
signal is heard, and a lock on the store that one of them holds is never given back. Only a timer
that needs no interpreter can end that: the one of `faulthandler`, which also tells the lines at
which the threads of a process were that crashed.
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
    """While it is entered, a process that stands still ends with exit code 1, and says where.

    So does one that was stopped for as long, by Ctrl-Z, when it goes on.

    Args:
        patience: For how long it must stand still, at least.
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
        """Set the timer again and again, for as long as this thread gets its turns."""
        while True:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STANDARD_ERROR)
            if self._end.wait(self._seconds / 4):
                return
