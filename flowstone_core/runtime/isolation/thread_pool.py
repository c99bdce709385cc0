"""Daemon threads for foreign code, each call with a deadline.

A thread cannot be killed. So a call past its deadline is given up: whoever made it is told, its
thread is left behind, and another thread takes the place. The threads are daemons, because one
that hangs would otherwise keep the process from ending.
"""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod

from flowstone_core.model.clock import Clock

logger = logging.getLogger("flowstone.pool")

_LOOK_AGAIN = 1.0


class Call(ABC):
    """One call that the pool makes.

    Args:
        deadline: Seconds it may run, counted from its start, not from its time in the queue.
    """

    __slots__ = ("abandoned", "deadline", "started")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.started = 0.0
        self.abandoned = False

    @abstractmethod
    def run(self) -> None:
        """Do it; in a thread of the pool. It must not raise."""

    @abstractmethod
    def expired(self) -> None:
        """Hear that it is past its deadline; in the thread that called `ThreadPool.expire`."""


class ThreadPool:
    """Runs calls in at most ``limit`` threads, those left behind not counted.

    Args:
        name: Of its threads.
        limit: Calls that may run at once.
        stuck_limit: Threads that may be left behind; each one more takes a place of ``limit``.
    """

    def __init__(self, name: str, clock: Clock, limit: int, stuck_limit: int = 64) -> None:
        self._name = name
        self._clock = clock
        self._limit = limit
        self._stuck_limit = stuck_limit
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._active: dict[int, Call] = {}
        self._waiting = 0
        self._idle = 0
        self._threads = 0
        self._stuck = 0
        self._made = 0

    @property
    def stuck(self) -> int:
        """How many threads are left behind in calls that have not returned."""
        return self._stuck

    def submit(self, call: Call) -> None:
        """Have a call made as soon as a thread is free; any thread, returns at once."""
        with self._lock:
            self._waiting += 1
            self._grow()
        self._queue.put(call)

    def expire(self) -> float | None:
        """Give up the calls that are past their deadlines.

        Returns:
            Seconds until it should be called again; None when no call runs or waits.
        """
        now = self._clock.monotonic()
        nearest: float | None = None
        for call in list(self._active.values()):
            left = call.started + call.deadline - now
            if left > 0:
                nearest = left if nearest is None else min(nearest, left)
            elif self._abandon(call):
                call.expired()
        if self._waiting:  # one that starts between two looks has a deadline too
            nearest = _LOOK_AGAIN if nearest is None else min(nearest, _LOOK_AGAIN)
        return nearest

    def close(self) -> None:
        """End the threads that are idle, and the others when their calls return."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _abandon(self, call: Call) -> bool:
        with self._lock:
            if call.abandoned or call not in self._active.values():
                return False
            call.abandoned = True
            self._stuck += 1
            self._threads -= 1
            self._grow()
        if self._allowed <= 0:
            logger.error(
                "every thread hangs in a call that does not come back: no more calls are made "
                "before one does; restart the process, and isolate what hangs in processes",
                extra={"threads": self._name, "stuck": self._stuck},
            )
        return True

    @property
    def _allowed(self) -> int:
        return self._limit - max(0, self._stuck - self._stuck_limit)

    def _grow(self) -> None:
        if self._waiting > self._idle and self._threads < self._allowed:
            self._threads += 1
            self._idle += 1
            self._made += 1
            name = f"{self._name}-{self._made}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        me = threading.get_ident()
        while (call := self._queue.get()) is not None:
            with self._lock:
                self._waiting -= 1
                self._idle -= 1
                call.started = self._clock.monotonic()
                self._active[me] = call
            try:
                call.run()
            except Exception:
                logger.exception("a call broke its promise not to raise")
            with self._lock:
                del self._active[me]
                if call.abandoned:
                    self._stuck -= 1
                    self._grow()
                    return
                self._idle += 1
