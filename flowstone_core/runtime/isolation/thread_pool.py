"""Thread pool for foreign code: daemon threads, and a deadline for each call.

A thread cannot be killed. So a call past its deadline is abandoned: its `Call.expired` is called,
its thread is left behind, and another thread takes its place. The threads are daemons, because a
hanging thread would otherwise keep the process from ending. Where the system refuses another
thread, calls wait for the threads there are, and `ThreadPool.expire` tries to start one again.
"""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections import deque

from flowstone_core.model.clock import Clock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe

logger = logging.getLogger("flowstone.thread_pool")

_EXPIRE_SECONDS = 1.0
"""Longest time between two calls of `expire` while a call waits for a thread."""


class Call(ABC):
    """Call that the pool makes.

    Args:
        deadline: Seconds that the call may run, counted from its start, not from its submission.
    """

    __slots__ = ("abandoned", "deadline", "started")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.started = 0.0
        self.abandoned = False

    @abstractmethod
    def run(self) -> None:
        """Make the call; in a thread of the pool. It must not raise."""

    @abstractmethod
    def expired(self) -> None:
        """Called when the deadline passes, in the thread that called `ThreadPool.expire`."""


class ThreadPool:
    """Pool of at most ``limit`` threads; abandoned threads are not counted.

    A call wakes a thread only if none is waking already; a thread that takes a call wakes the next
    one, if more calls wait, before it makes its own. So a burst of calls that return at once is
    made by one or two threads, and calls that block still have a thread each.

    Args:
        name: Prefix of the threads' names.
        limit: Calls that may run at once.
        stuck_limit: Threads that may be abandoned; each further one reduces ``limit`` by one.
    """

    def __init__(self, name: str, clock: Clock, limit: int, stuck_limit: int = 64) -> None:
        self._name = name
        self._clock = clock
        self._limit = limit
        self._stuck_limit = stuck_limit
        self._calls: deque[Call] = deque()
        self._alarms: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._active: dict[int, Call] = {}
        self._closed = False
        self._waking = False
        """True from the alarm, or the start, of a thread until the thread looks for a call."""
        self._idle = 0
        self._threads = 0
        self._stuck = 0
        self._started = 0
        self._refusal = ReportOnce(
            logger,
            "cannot start a thread; trying again every second",
            "threads can be started again",
        )

    @property
    def stuck(self) -> int:
        """Number of abandoned threads whose calls have not returned."""
        return self._stuck

    @property
    def blocked(self) -> bool:
        """True if the abandoned threads leave none for a further call."""
        return self._allowed <= 0

    def busy(self, seconds: float) -> int:
        """Return the number of calls that have run for longer than ``seconds``."""
        before = self._clock.monotonic() - seconds
        return sum(call.started < before for call in list(self._active.values()))

    def submit(self, call: Call) -> None:
        """Queue a call for the next free thread; any thread, returns at once."""
        with self._lock:
            self._calls.append(call)
            self._wake()

    def expire(self) -> float | None:
        """Abandon the calls that are past their deadlines.

        Returns:
            Seconds until `expire` should be called again; None if no call runs or waits.
        """
        now = self._clock.monotonic()
        nearest: float | None = None
        for call in list(self._active.values()):
            left = call.started + call.deadline - now
            if left > 0:
                nearest = left if nearest is None else min(nearest, left)
            elif self._abandon(call):
                call.expired()
        if self._calls:  # a call that starts in between has a deadline too
            with self._lock:
                self._wake()
            nearest = _EXPIRE_SECONDS if nearest is None else min(nearest, _EXPIRE_SECONDS)
        return nearest

    def close(self) -> None:
        """End the idle threads now, and the others when their calls return."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._alarms.put(None)

    def _abandon(self, call: Call) -> bool:
        with self._lock:
            if call.abandoned or call not in self._active.values():
                return False
            call.abandoned = True
            self._stuck += 1
            self._threads -= 1
            self._wake()
        if self.blocked:
            logger.error(
                "every thread hangs in a call that does not return; no calls are made until one "
                "does (restart the process, and use isolation = process for what hangs)",
                extra={"threads": self._name, "stuck": self._stuck},
            )
        return True

    @property
    def _allowed(self) -> int:
        return self._limit - max(0, self._stuck - self._stuck_limit)

    def _wake(self) -> None:
        """Wake a thread, or start one, if calls wait and none is waking; under the lock."""
        if not self._calls or self._waking:
            return
        if self._idle:
            self._idle -= 1
            self._waking = True
            self._alarms.put(None)
        elif self._threads < self._allowed:
            self._start()

    def _start(self) -> None:
        name = f"{self._name}-{self._started + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            # The limit of threads or of memory: nothing is counted that is not there.
            self._refusal.begin(threads=self._name, error=describe(error))
            return
        self._waking = True
        self._threads += 1
        self._started += 1
        self._refusal.end(threads=self._name)

    def _work(self) -> None:
        me = threading.get_ident()
        woken = True
        while (call := self._take(me, woken=woken)) is not None:
            woken = False
            try:
                call.run()
            except BaseException:
                logger.exception("pool call raised an exception")
            with self._lock:
                del self._active[me]
                if call.abandoned:
                    self._stuck -= 1
                    self._wake()
                    return

    def _take(self, thread: int, *, woken: bool) -> Call | None:
        """Take the next call, and wait for one; return None once the pool is closed."""
        while True:
            with self._lock:
                if woken:
                    self._waking = False
                if self._calls:
                    call = self._calls.popleft()
                    call.started = self._clock.monotonic()
                    self._active[thread] = call
                    self._wake()
                    return call
                if self._closed:
                    return None
                self._idle += 1
            self._alarms.get()
            woken = True
