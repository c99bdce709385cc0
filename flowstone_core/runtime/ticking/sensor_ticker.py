"""One sensor's life in a runner: whose turn it is, and what is known of it."""

from __future__ import annotations

import logging
import zlib
from functools import partial

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Clock
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint, TickCommit
from flowstone_core.runtime.ticking.sensor_host import ProcessHost, SensorHost, ThreadHost
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker

logger = logging.getLogger("flowstone.ticker")


SPREAD = 5.0
"""Seconds over which first polls are spread, so that many sensors do not start together."""


class SensorTicker(Ticker):
    """Polls one sensor.

    Args:
        declaration: The sensor.
        assets: All assets; events must be for one of them.
        redact: Hides secrets in error texts.
    """

    def __init__(
        self,
        declaration: SensorDeclaration,
        assets: AssetGraph,
        clock: Clock,
        redact: Redactor,
    ) -> None:
        settings = declaration.settings
        super().__init__("sensor", declaration.name, settings.deadline.total_seconds())
        self.every = settings.every.total_seconds()
        self.stale_after = settings.stale_after or 3 * settings.every
        self.checkpoint = SensorCheckpoint()
        self.good_at = clock.now()
        """When its last good poll ended, or when this runner began to poll it."""
        self._clock = clock
        self._rules = TickRules(
            declaration.name,
            declaration.asset,
            frozenset(assets),
            settings.max_events,
            settings.first_poll == "baseline",
            settings.quarantine_after,
            partial(backoff_delay, first=settings.backoff, limit=settings.backoff_limit),
            redact,
        )
        make = ThreadHost if settings.isolation == "thread" else ProcessHost
        self._host: SensorHost = make(declaration, self._rules, clock)
        self._killed = False

    @property
    def tickable(self) -> bool:
        """Whether it is this runner's and not broken."""
        return self.owned and not self.checkpoint.broken

    @property
    def held_back_by(self) -> str | None:
        """See `Ticker.held_back_by`.

        A sensor that asked to be polled later is left alone until then. One that failed is not:
        whoever asks for a poll now wants to know whether it works again.
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
        spread = zlib.crc32(self.name.encode()) / 2**32 * min(self.every, SPREAD)
        return max(spread, self.backoff_left())

    def backoff_left(self) -> float:
        """See `Ticker.backoff_left`."""
        until = self.checkpoint.not_before
        return 0.0 if until is None else max(0.0, (until - self._clock.now()).total_seconds())

    def following(self, due: float, now: float) -> float:
        """See `Ticker.following`.

        Start to start, and in step with the first poll; a machine that slept polls once, not as
        often as it missed.
        """
        missed = (now - due) // self.every
        return due + (missed + 1) * self.every

    def tick(self, number: int) -> Decision[TickCommit] | None:
        """Poll, and decide what it amounts to; in a thread of the pool, and never raises.

        Returns:
            The decision, or None if the turn was ended early: the result is discarded.
        """
        # Read once: an operator's reset may replace it while the poll runs, and what is decided
        # on the old one must then be refused by the store.
        decision = self._host.tick(self.checkpoint)
        if self._end(number):
            return decision
        if not self._killed:
            extra = {"sensor": self.name, "outcome": decision.outcome, "error": decision.error}
            logger.warning("late result discarded", extra=extra)
        self._killed = False
        return None

    def expire(self, number: int) -> Decision[TickCommit] | None:
        """End a turn that is past its deadline; in the scheduler.

        Returns:
            The decision, or None if the poll has come back just now after all.
        """
        if not self._end(number):
            return None
        hint = "its late result is discarded, and it is not polled again before it returns"
        self._killed = self._host.kill()
        if self._killed:
            hint = "its process was killed"
        seconds = f"{self.deadline:g} s"
        message = f"the poll did not come back within its deadline of {seconds}"
        return self._failed(PollTimeoutError(message, hint=hint))

    def stop(self) -> None:
        """See `Ticker.stop`."""
        self._host.kill()

    def connect(self) -> str | None:
        """Ask the sensor to prove that it reaches its source; blocks, and never raises.

        Returns:
            Why it does not; None if it does.
        """
        return self._host.connect()

    def refuse(self, error: Exception) -> Decision[TickCommit]:
        """Decide what it amounts to that the store refused what a good tick wanted to write."""
        return self._failed(error)

    def remember(self, decision: AnyDecision) -> None:
        """See `Ticker.remember`."""
        commit = decision.commits[-1]
        assert isinstance(commit, TickCommit)  # noqa: S101 - for the type checker
        self.checkpoint = commit.after

    def cleanup(self) -> None:
        """Have the sensor close what it holds; in a thread of the pool, and never raises."""
        self._host.cleanup()

    def _failed(self, error: Exception) -> Decision[TickCommit]:
        now = self._clock.now()
        return decide(self._rules, self.checkpoint, SensorObservation(error, now, now, raised=True))
