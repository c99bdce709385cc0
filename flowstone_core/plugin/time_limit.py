"""Time limit for calls of foreign code while a process starts: imports and providing hooks.

A plugin that hangs there must not keep the process from starting. Polls run in the thread pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.plugin.fork_guard import fork_guard

T = TypeVar("T")

LOADING_SECONDS = 30.0
"""Seconds for the import of a plugin, and for each of its providing hooks."""


class TimeLimit:
    """Time limit: makes each call in a separate daemon thread and abandons late calls.

    Args:
        seconds: Maximum seconds of a call; `LOADING_SECONDS` by default.
        clock: Measures the time.
    """

    def __init__(self, seconds: float | None = None, clock: Clock | None = None) -> None:
        self.seconds = LOADING_SECONDS if seconds is None else seconds
        self._clock = clock or SystemClock()

    def call(self, function: Callable[[], T]) -> T | None:
        """Call a function and wait for its result; Ctrl-C ends the wait in the main thread.

        Args:
            function: Must not raise, and not return None.

        Returns:
            The return value, or None on timeout. A late return value is discarded.
        """
        answers: list[T] = []
        waker = self._clock.waker()

        def answer() -> None:
            try:
                with fork_guard():
                    answers.append(function())
            finally:
                waker.set()

        threading.Thread(target=answer, name="flowstone-loading", daemon=True).start()
        waker.wait(self.seconds)
        return answers[0] if answers else None

    @property
    def passed(self) -> str:
        """Message for a call that did not return in time."""
        return f"timed out after {self.seconds:g} s"
