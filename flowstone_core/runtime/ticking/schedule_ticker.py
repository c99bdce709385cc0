"""Schedule ticker: evaluates one schedule and decides what the tick commits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Clock
from flowstone_core.model.partition import encode_partition
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import ScheduleCommit
from flowstone_core.plugin.fork_guard import fork_guard
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker
from flowstone_core.scheduling.catchup import due
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.schedule_decision import (
    ScheduleObservation,
    decide_failure,
    decide_firing,
)
from flowstone_core.scheduling.settings import Overlap
from flowstone_core.store import ScheduleRecord

logger = logging.getLogger("flowstone.ticker")

DEADLINE_SECONDS = 60.0
"""Longest time for a schedule's trigger and its ``partition_fn`` together."""


class ScheduleTicker(Ticker):
    """Ticker of one schedule; fires for its due instants.

    Args:
        record: The schedule's record, as the runner claimed it.
        build: Builds the schedule; called in a thread of the pool, and may raise.
        count_active: Returns the number of materializations that have not ended and that events
            of a source asked for.
        redact: Hides secrets in error texts.
    """

    def __init__(
        self,
        record: ScheduleRecord,
        build: Callable[[], Schedule],
        count_active: Callable[[str], int],
        clock: Clock,
        redact: Redactor,
    ) -> None:
        super().__init__("schedule", record.name, DEADLINE_SECONDS)
        self.checkpoint = record.checkpoint
        self._enabled = bool(record.spec.get("enabled", True))
        self._build = build
        self._count_active = count_active
        self._clock = clock
        self._redact = redact
        self._backoff = partial(
            backoff_delay, first=timedelta(seconds=5), limit=timedelta(minutes=30)
        )
        self._schedule: Schedule | None = None

    @property
    def tickable(self) -> bool:
        """True if it is assigned to this runner and enabled."""
        return self.owned and self._enabled

    @property
    def held_back_by(self) -> str | None:
        """See `Ticker.held_back_by`."""
        return None if self.owned else "it is paused, or another runner ticks it"

    def first_delay(self) -> float:
        """See `Ticker.first_delay`."""
        return self.backoff_left()

    def backoff_left(self) -> float:
        """See `Ticker.backoff_left`."""
        until = self.checkpoint.not_before
        return 0.0 if until is None else max(0.0, (until - self._clock.now()).total_seconds())

    def following(self, due: float, now: float) -> None:
        """See `Ticker.following`: the tick's decision gives the time."""

    def tick(self, number: int) -> Decision[ScheduleCommit] | None:
        """See `Ticker.tick`."""
        checkpoint = self.checkpoint
        started_at = self._clock.now()
        schedule = self._schedule
        try:
            with fork_guard():
                if schedule is None:
                    schedule = self._build()
                found = due(schedule, checkpoint.decided_until, started_at)
                partitions = tuple(
                    encode_partition(schedule.partition(instant)) for instant in found.instants
                )
            crowded = found.instants and schedule.settings.overlap is not Overlap.ALLOW
            active = self._count_active(self.source) if crowded else 0
            seen = ScheduleObservation(found, started_at, self._clock.now(), partitions, active)
        except BaseException as error:  # noqa: BLE001 - triggers and functions may raise anything
            seen = ScheduleObservation(error, started_at, self._clock.now())
        if not self._end(number):
            raised = seen.due if isinstance(seen.due, BaseException) else None
            text = "" if raised is None else describe(raised, self._redact)
            logger.warning("late result discarded", extra={**self.labels, "error": text})
            return None
        self._schedule = schedule
        if schedule is None:
            return decide_failure(self.name, checkpoint, seen, self._backoff, self._redact)
        return decide_firing(schedule, checkpoint, seen, self._backoff, self._redact)

    def expire(self, number: int) -> Decision[ScheduleCommit] | None:
        """See `Ticker.expire`."""
        if not self._end(number):
            return None
        return self._failed(
            PollTimeoutError(
                f"its trigger or its partition_fn did not return within {self.deadline:g} s",
                hint="its late result is discarded, and it is not called before it returns",
            )
        )

    def refuse(self, error: BaseException) -> Decision[ScheduleCommit]:
        """See `Ticker.refuse`."""
        return self._failed(error)

    def remember(self, decision: AnyDecision) -> None:
        """See `Ticker.remember`."""
        commit = decision.commits[-1]
        assert isinstance(commit, ScheduleCommit)  # noqa: S101 - for the type checker
        self.checkpoint = commit.after

    def _failed(self, error: BaseException) -> Decision[ScheduleCommit]:
        now = self._clock.now()
        seen = ScheduleObservation(error, now, now)
        return decide_failure(self.name, self.checkpoint, seen, self._backoff, self._redact)
