"""Lease of this runner, by its own monotonic clock: it steps down before the lease can end.

Other runners may take over once the lease in the store has ended. So a runner that could not
renew it for two thirds of its time starts nothing more, whatever the reason: it was frozen, it is
cut off, or the store accepts a statement and does not answer.
"""

from __future__ import annotations

import logging
import math
from datetime import timedelta

from flowstone_core.model.clock import Clock
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.runtime.periodic_thread import PeriodicThread

BEATS = 5
"""Heartbeats in the time of a lease."""

STEP_DOWN = 2 / 3
"""Part of a lease after which a runner without a good heartbeat steps down."""

SETTLING = 1 / 3
"""Part of a lease for which a runner that was cut off takes nobody for dead: others were, too."""


class Lease:
    """Lease of a runner, as far as the runner knows it without the store.

    Its thread touches no store, so that it reports a step down while the heartbeat hangs.

    Args:
        duration: How long a renewal is valid.
        clock: Its monotonic time counts.

    Attributes:
        seconds: The duration.
        period: Seconds from one heartbeat to the next.
    """

    def __init__(self, duration: timedelta, clock: Clock) -> None:
        self.seconds = duration.total_seconds()
        self.period = self.seconds / BEATS
        self._clock = clock
        self._renewed_at = math.inf
        self._settled_at = -math.inf
        self._loop = PeriodicThread("lease", self._step, clock, first_wait=self.period)
        self._report = ReportOnce(
            logging.getLogger("flowstone.lease"),
            "no heartbeat succeeded for too long: stepping down; nothing is polled or claimed",
            "heartbeats succeed again: polling and claiming resumed",
        )

    @property
    def held(self) -> bool:
        """True unless too long ago a heartbeat succeeded; also True before the first one."""
        return self._clock.monotonic() - self._renewed_at < self.seconds * STEP_DOWN

    @property
    def settled(self) -> bool:
        """True if it is held, and no outage ended just before: who is silent now may be dead."""
        return self.held and self._clock.monotonic() >= self._settled_at

    def start(self) -> None:
        """Begin to watch."""
        self._loop.start()

    def stop(self) -> None:
        """Stop watching."""
        self._loop.stop()

    def renewed(self, at: float) -> None:
        """Take note of a heartbeat that succeeded and began at a monotonic time."""
        if at - self._renewed_at > 2 * self.period:
            self.unsettle()
        self._renewed_at = at
        self._report.end()

    def unsettle(self) -> None:
        """Take nobody for dead for a while: this lease had ended, and so may have others."""
        self._settled_at = self._clock.monotonic() + self.seconds * SETTLING

    def _step(self) -> float:
        if not self.held:
            self._report.begin(seconds=round(self._clock.monotonic() - self._renewed_at))
        return min(self.period, 1.0)
