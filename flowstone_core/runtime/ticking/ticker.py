"""One sensor's or schedule's life in a runner: whose turn it is, and what every turn has."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TypeAlias

from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import ScheduleCommit, TickCommit

AnyDecision: TypeAlias = Decision[TickCommit] | Decision[ScheduleCommit]


class Ticker(ABC):
    """Ticks one thing, contains whatever it does, and decides what that amounts to.

    A tick is a turn. It begins with `begin`, in the scheduler; `tick` runs it, in a thread of
    the pool; `expire` ends it early, in the scheduler, and what `tick` still returns is then
    nothing. A turn is over once its thread has come back *and* its verdict (quiet, committed or
    refused) is known: two holds, given up by `release`. Until then no other turn begins, so a
    sensor is never polled twice at once, not even when a thread hangs.

    Args:
        kind: ``sensor`` or ``schedule``.
        name: Unique among its kind.
        deadline: Seconds after which a turn is ended.
    """

    def __init__(self, kind: str, name: str, deadline: float) -> None:
        self.kind = kind
        self.name = name
        self.deadline = deadline
        self.owned = False
        self.armed = 0
        """Which of its entries in the scheduler's heap counts; the scheduler's alone."""
        self._lock = threading.Lock()
        self._turn = 0
        self._holds = 0
        self._overdue = False

    @property
    def source(self) -> str:
        """What its ticks and events have as their source."""
        return f"{self.kind}:{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """What log lines about it carry."""
        return {self.kind: self.name}

    @property
    def busy(self) -> bool:
        """Whether a turn is not over yet."""
        return self._holds > 0

    @property
    @abstractmethod
    def tickable(self) -> bool:
        """Whether it is this runner's, and nothing says that it must not be ticked."""

    @property
    @abstractmethod
    def held_back_by(self) -> str | None:
        """Why somebody who asks for a tick now is refused; None if he is not."""

    @abstractmethod
    def first_delay(self) -> float:
        """Return the seconds until its first tick, from when the runner got it."""

    @abstractmethod
    def backoff_left(self) -> float:
        """Return the seconds until it may be ticked again; zero when it does not back off."""

    @abstractmethod
    def following(self, due: float, now: float) -> float | None:
        """Return when it is due after a tick that was due, and began, at these moments.

        Returns:
            Monotonic seconds; None if only the tick's decision can say.
        """

    @abstractmethod
    def tick(self, turn: int) -> AnyDecision | None:
        """Tick; in a thread of the pool, and never raises.

        Returns:
            The decision, or None if the turn was ended early: the result is discarded.
        """

    @abstractmethod
    def expire(self, turn: int) -> AnyDecision | None:
        """End a turn that is past its deadline; in the scheduler.

        Returns:
            The decision, or None if it has come back just now after all.
        """

    @abstractmethod
    def refuse(self, error: Exception) -> AnyDecision:
        """Decide what it amounts to that the store refused what a good tick wanted to write."""

    @abstractmethod
    def remember(self, decision: AnyDecision) -> None:
        """Know from now on what a committed decision says."""

    def cleanup(self) -> None:  # noqa: B027 - few have anything to close
        """Close what it holds; in a thread of the pool, and never raises."""

    def stop(self) -> None:  # noqa: B027 - few can
        """End the call that runs, if that can be done; any thread, and never raises."""

    def begin(self) -> int | None:
        """Begin a turn.

        Returns:
            The turn's number, or None while the last one is not over: it is then overdue, and
            whoever gives up the last hold is told so.
        """
        with self._lock:
            if self._holds:
                self._overdue = True
                return None
            self._holds = 2
            self._turn += 1
            return self._turn

    def release(self, holds: int = 1) -> bool:
        """Give up holds of the current turn.

        Returns:
            Whether the turn is over by this and the next one is overdue.
        """
        with self._lock:
            self._holds -= holds
            if self._holds or not self._overdue:
                return False
            self._overdue = False
            return True

    def _end(self, turn: int) -> bool:
        with self._lock:
            if turn != self._turn:
                return False
            self._turn += 1
            return True
