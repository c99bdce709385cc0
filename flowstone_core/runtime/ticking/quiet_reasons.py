"""Quiet reasons: records why polls find nothing, though a quiet tick writes nothing."""

from __future__ import annotations

import logging
import math
import threading

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import TickCommit
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

logger = logging.getLogger("flowstone.ticker")

_NEVER = ("", -math.inf)

RECORD_SECONDS = 60.0
"""Seconds between two records of one sensor: a reason with a number in it changes at each poll."""


class QuietReasons:
    """Records the changed reasons of a runner's sensors, all in one transaction.

    A quiet tick writes nothing, so a reason that stays the same is recorded once, and one that
    changes is recorded at most once in `RECORD_SECONDS`. A tick that is committed records its own.

    Args:
        session: The runner's session; nothing is recorded during an outage.
    """

    def __init__(self, session: RunnerSession) -> None:
        self._store = session.store
        self._runner_id = session.runner_id
        self._clock = session.clock
        self._outage = session.outage
        self._lock = threading.Lock()
        self._recorded: dict[str, tuple[str, float]] = {}  # reason, time of the record
        self._changed: dict[str, tuple[SensorTicker, str]] = {}

    def note(self, ticker: SensorTicker, decision: Decision[TickCommit]) -> None:
        """Note the reason of a poll; any thread."""
        name, reason = ticker.name, decision.reason
        with self._lock:
            self._changed.pop(name, None)
            recorded, at = self._recorded.get(name, _NEVER)
            if decision.commits:
                self._recorded[name] = (reason, at)
            elif reason != recorded:
                self._changed[name] = (ticker, reason)
        if not decision.commits and logger.isEnabledFor(logging.DEBUG):
            extra = {**ticker.labels, "reason": reason} if reason else ticker.labels
            logger.debug("quiet tick", extra=extra)

    def forget(self, name: str) -> None:
        """Forget a sensor: claimed anew, no reason of it is recorded; any thread."""
        with self._lock:
            self._changed.pop(name, None)
            self._recorded.pop(name, None)

    def record(self) -> None:
        """Record the reasons that have changed and are due; one thread at a time."""
        if self._outage.on or not self._changed:
            return
        due = self._take_due()
        if not due:
            return
        try:
            self._store.sensors.record_quiet(self._runner_id, due, self._clock.now())
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            with self._lock:  # the next poll notes its reason again
                for name in due:
                    self._recorded.pop(name, None)
        except StoreError as error:
            logger.error(  # noqa: TRY400 - the message says all
                "cannot record why polls find nothing", extra={"error": describe(error)}
            )

    def _take_due(self) -> dict[str, str]:
        now = self._clock.monotonic()
        due = {}
        with self._lock:
            for name, (ticker, reason) in list(self._changed.items()):
                if not ticker.tickable:
                    del self._changed[name]
                elif now >= self._recorded.get(name, _NEVER)[1] + RECORD_SECONDS:
                    del self._changed[name]
                    self._recorded[name] = (reason, now)
                    due[name] = reason
        return due
