"""Foreign code that is waited for no longer than this, where nothing else could go on meanwhile.

Polls have the pool. This is for what comes before it: a plugin that hangs when it is imported, or
asked what it provides, must not keep a process from starting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from flowstone_core.model.clock import Clock, SystemClock

T = TypeVar("T")

LOADING_SECONDS = 30.0
"""How long a plugin may take to be imported, and each of its hooks to say what it provides."""


class TimeLimit:
    """Makes calls, each in a daemon thread of its own, and gives up those that do not come back.

    Args:
        seconds: How long a call may take; `LOADING_SECONDS` by default.
        clock: Measures it.
    """

    def __init__(self, seconds: float | None = None, clock: Clock | None = None) -> None:
        self.seconds = LOADING_SECONDS if seconds is None else seconds
        self._clock = clock or SystemClock()

    def call(self, function: Callable[[], T]) -> T | None:
        """Call a function and wait for it; Ctrl-C ends the wait, if it is the main thread's.

        Args:
            function: It must not raise, and not return None.

        Returns:
            What it returned; None if it has not come back in time. What it returns later is
            nobody's.
        """
        answers: list[T] = []
        waker = self._clock.waker()

        def answer() -> None:
            try:
                answers.append(function())
            finally:
                waker.set()

        threading.Thread(target=answer, name="flowstone-loading", daemon=True).start()
        waker.wait(self.seconds)
        return answers[0] if answers else None

    @property
    def passed(self) -> str:
        """What is said of a call that has not come back."""
        return f"it did not come back within {self.seconds:g} s"
