"""Ticker: base class of the sensor and schedule tickers; one tick at a time, with a deadline."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TypeAlias

from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import ScheduleCommit, TickCommit

AnyDecision: TypeAlias = Decision[TickCommit] | Decision[ScheduleCommit]


class Ticker(ABC):
    """Ticks one sensor or schedule, contains its errors, and decides what each tick commits.

    `begin` begins a tick call, in the scheduler; `tick` runs it, in a thread of the pool;
    `expire` ends it early, in the scheduler, and a later result of `tick` is discarded. A tick
    call has two holds: one of its thread, one of its outcome (quiet, committed or refused). Both
    are given up with `release`, and no other tick call begins before that: a sensor is never
    polled twice at once, even if a thread hangs.

    Args:
        kind: ``sensor`` or ``schedule``.
        name: Unique among its kind.
        deadline: Seconds after which a tick call is ended.

    Attributes:
        owned: True while the sensor or schedule is assigned to this runner.
        armed: Number of the ticker's valid entry in the scheduler's heap; the scheduler's alone.
    """

    __slots__ = (
        "_holds", "_lock", "_number", "_overdue", "armed", "deadline", "kind", "name", "owned"
    )  # fmt: skip

    def __init__(self, kind: str, name: str, deadline: float) -> None:
        self.kind = kind
        self.name = name
        self.deadline = deadline
        self.owned = False
        self.armed = 0
        self._lock = threading.Lock()
        self._number = 0
        self._holds = 0
        self._overdue = False

    @property
    def source(self) -> str:
        """Source of the ticks and events, such as ``sensor:orders``."""
        return f"{self.kind}:{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """Fields of log lines about the sensor or schedule."""
        return {self.kind: self.name}

    @property
    def busy(self) -> bool:
        """True while a tick call has not ended."""
        return self._holds > 0

    @property
    @abstractmethod
    def tickable(self) -> bool:
        """True if it is assigned to this runner, and neither broken nor disabled."""

    @property
    @abstractmethod
    def held_back_by(self) -> str | None:
        """The reason why it cannot be ticked on request now; None if it can."""

    @abstractmethod
    def first_delay(self) -> float:
        """Return the seconds from its assignment to its first tick."""

    @abstractmethod
    def backoff_left(self) -> float:
        """Return the seconds until it may be ticked again; zero without back-off."""

    @abstractmethod
    def following(self, due: float, now: float) -> float | None:
        """Return the due time of the tick after one that was due at ``due`` and began at ``now``.

        Returns:
            Monotonic seconds; None if the tick's decision gives the time.
        """

    @abstractmethod
    def tick(self, number: int) -> AnyDecision | None:
        """Run a tick call; in a thread of the pool, never raises.

        Args:
            number: The number that `begin` returned.

        Returns:
            The decision, or None if the tick call was ended early: the result is discarded.
        """

    @abstractmethod
    def expire(self, number: int) -> AnyDecision | None:
        """End a tick call that is past its deadline; in the scheduler.

        Args:
            number: The number that `begin` returned.

        Returns:
            The decision, or None if the tick call has returned just before.
        """

    @abstractmethod
    def refuse(self, error: BaseException) -> AnyDecision:
        """Return the decision for a tick that failed outside foreign code, such as its commit."""

    @abstractmethod
    def remember(self, decision: AnyDecision) -> None:
        """Take over the checkpoint of a committed decision."""

    def cleanup(self) -> None:  # noqa: B027 - few have anything to close
        """Close open resources; in a thread of the pool, never raises."""

    def stop(self) -> None:  # noqa: B027 - few can
        """End the running call if it can be ended; any thread, never raises."""

    def begin(self) -> int | None:
        """Begin a tick call.

        Returns:
            The number of the tick call. None while the last one has not ended: a tick is then
            overdue, and `release` reports it when the last hold is given up.
        """
        with self._lock:
            if self._holds:
                self._overdue = True
                return None
            self._holds = 2
            self._number += 1
            return self._number

    def release(self, holds: int = 1) -> bool:
        """Give up holds of the current tick call.

        Returns:
            True if the tick call has ended by this and the next tick is overdue.
        """
        with self._lock:
            self._holds -= holds
            if self._holds or not self._overdue:
                return False
            self._overdue = False
            return True

    def _end(self, number: int) -> bool:
        """Return True if the tick call was still the current one; its late result is void now."""
        with self._lock:
            if number != self._number:
                return False
            self._number += 1
            return True
