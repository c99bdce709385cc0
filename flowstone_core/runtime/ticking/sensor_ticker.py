"""Sensor ticker: polls one sensor and decides what the tick commits."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache, partial

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Clock
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint, TickCommit
from flowstone_core.runtime.ticking.near_dates import first_near_date
from flowstone_core.runtime.ticking.sensor_host import ProcessHost, SensorHost, ThreadHost
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker

logger = logging.getLogger("flowstone.ticker")


SPREAD_SECONDS = 5.0
"""First polls are spread over this time, so that many sensors do not start together."""


class SensorTicker(Ticker):
    """Ticker of one sensor.

    Args:
        declaration: The sensor.
        assets: The names of all assets; events must be for one of them.
        redact: Hides secrets in error texts.
    """

    # There may be a hundred thousand of them.
    __slots__ = (
        "_clock", "_host", "_killed", "_rules", "_warned_of_near_date",
        "checkpoint", "every", "good_at", "stale_after",
    )  # fmt: skip

    def __init__(
        self,
        declaration: SensorDeclaration,
        assets: Iterable[str],
        clock: Clock,
        redact: Redactor,
    ) -> None:
        settings = declaration.settings
        super().__init__("sensor", declaration.name, settings.deadline.total_seconds())
        self.every = settings.every.total_seconds()
        self.stale_after = settings.stale_after or 3 * settings.every
        self.checkpoint = SensorCheckpoint()
        self.good_at = clock.now()
        """End of its last good poll, or the time at which this runner began to poll it."""
        self._clock = clock
        self._rules = TickRules(
            declaration.name,
            declaration.asset,
            frozenset(assets),  # no copy of a frozenset: sensors share it
            settings.max_events,
            settings.first_poll == "baseline",
            settings.quarantine_after,
            _backoff(settings.backoff, settings.backoff_limit),
            redact,
        )
        host = ThreadHost if settings.isolation == "thread" else ProcessHost
        self._host: SensorHost = host(declaration, self._rules, clock)
        self._killed = False
        self._warned_of_near_date = False

    @property
    def tickable(self) -> bool:
        """True if it is assigned to this runner and not broken."""
        return self.owned and not self.checkpoint.broken

    @property
    def held_back_by(self) -> str | None:
        """See `Ticker.held_back_by`.

        A sensor that asked to be polled later is not polled before. A sensor that failed is
        polled: the request for a poll is meant to find out if it works again.
        """
        if not self.owned:
            return "it is paused, or another runner polls it"
        if self.checkpoint.broken:
            return "it is broken until it is reset"
        if self.backoff_left() and not self.checkpoint.failures:
            return f"it asked to be polled after {self.checkpoint.not_before}"
        return None

    def first_delay(self) -> float:
        """See `Ticker.first_delay`."""
        spread = zlib.crc32(self.name.encode()) / 2**32 * min(self.every, SPREAD_SECONDS)
        return max(spread, self.backoff_left())

    def backoff_left(self) -> float:
        """See `Ticker.backoff_left`."""
        until = self.checkpoint.not_before
        return 0.0 if until is None else max(0.0, (until - self._clock.now()).total_seconds())

    def following(self, due: float, now: float) -> float:
        """See `Ticker.following`.

        The interval runs from start to start, in step with the first poll. After the machine has
        slept there is one poll, not one for each that was missed.
        """
        missed = (now - due) // self.every
        return due + (missed + 1) * self.every

    def tick(self, number: int) -> Decision[TickCommit] | None:
        """Poll and decide; see `Ticker.tick`."""
        # Read once: a reset may replace the checkpoint while the poll runs, and the store must
        # then refuse the decision that is based on the old one.
        decision = self._host.tick(self.checkpoint)
        if self._end(number):
            if decision.commits:
                self._warn_of_near_date(decision)
            return decision
        if not self._killed:
            extra = {"sensor": self.name, "outcome": decision.outcome, "error": decision.error}
            logger.warning("late result discarded", extra=extra)
        self._killed = False
        return None

    def expire(self, number: int) -> Decision[TickCommit] | None:
        """End a poll that is past its deadline; see `Ticker.expire`."""
        if not self._end(number):
            return None
        hint = "its late result is discarded, and the sensor is not polled before it returns"
        self._killed = self._host.kill()
        if self._killed:
            hint = "its process was killed"
        seconds = f"{self.deadline:g} s"
        message = f"the poll did not return within its deadline of {seconds}"
        return self._failed(PollTimeoutError(message, hint=hint))

    def stop(self) -> None:
        """See `Ticker.stop`."""
        self._host.kill()

    def connect(self) -> str | None:
        """Check that the sensor reaches its external source; blocks, never raises.

        Returns:
            The error; None if the external source was reached.
        """
        return self._host.connect()

    def refuse(self, error: BaseException) -> Decision[TickCommit]:
        """See `Ticker.refuse`."""
        return self._failed(error)

    def remember(self, decision: AnyDecision) -> None:
        """See `Ticker.remember`."""
        commit = decision.commits[-1]
        assert isinstance(commit, TickCommit)  # noqa: S101 - for the type checker
        self.checkpoint = commit.after

    def cleanup(self) -> None:
        """Close the sensor's resources; in a thread of the pool, never raises."""
        self._host.cleanup()

    def _warn_of_near_date(self, decision: Decision[TickCommit]) -> None:
        """Log the first partition of this sensor that is a text and nearly a date; once."""
        found = None if self._warned_of_near_date else first_near_date(decision.commits)
        if found is not None:
            self._warned_of_near_date = True
            text, date = found
            extra = {"sensor": self.name, "partition": self._rules.redact(text), "date": date}
            extra["hint"] = "to read it as a date: partition_fn, or partition_pattern"
            logger.warning("partition is a text, not a date", extra=extra)

    def _failed(self, error: BaseException) -> Decision[TickCommit]:
        now = self._clock.now()
        return decide(self._rules, self.checkpoint, SensorObservation(error, now, now, raised=True))


@lru_cache
def _backoff(first: timedelta, limit: timedelta) -> Callable[[int], timedelta]:
    """Return the function of back-off; sensors with the same settings share it."""
    return partial(backoff_delay, first=first, limit=limit)
