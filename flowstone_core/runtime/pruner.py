"""Pruner: deletes old history and the keys of old events, once an hour."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import chain

from flowstone_core.errors import Problem, StoreError, ValidationError
from flowstone_core.model.clock import Clock
from flowstone_core.model.duration import format_duration
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.model.setting_types import LONGEST, SHORTEST
from flowstone_core.model.witnessed_time import Period, WitnessedTime
from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.store import KeyRetention, Pruned, Store

logger = logging.getLogger("flowstone.pruner")

FIRST_SECONDS = 60.0
"""Seconds from the start of the process to the first pruning: the start has enough to do."""

PERIOD_SECONDS = 3600.0
"""Seconds from one pruning to the next."""

CLOCK_JUMP_SECONDS = 3600.0
"""Wall clock and monotonic clock may drift apart by this much between two prunings."""

SCHEDULE_KEYS = timedelta(days=7)
"""How long the keys of schedules are kept: as far as a clock may be set back."""


class Pruner:
    """Deletes the keys of old events, and history that is older than the retention.

    The thread deletes a few rows at a time, and rests after each batch for the time that the
    batch took: neither a tick nor another process waits for more than one batch.

    Args:
        dedupe_for: How long the keys of each sensor's events are kept, by the sensor's name.
        retention: How long history is kept; None keeps it for ever.
        runner_id: This runner; None if this process is not one.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dedupe_for: Mapping[str, timedelta],
        retention: timedelta | None,
        runner_id: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._dedupe_for = dedupe_for
        self._retention = retention
        self._report = ReportOnce(
            logger,
            "cannot prune old history; trying again every hour",
            "pruning of old history resumed",
        )
        self._runner_id = runner_id
        self._began = clock.monotonic()
        self._told: set[datetime] = set()
        self._clock_offset = self._measure_offset()
        self._loop = PeriodicThread(
            "pruner",
            self._step,
            clock,
            first_wait=FIRST_SECONDS,
            retry_seconds=PERIOD_SECONDS,
        )

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._loop.alive

    def start(self) -> None:
        """Start the thread; the first pruning follows after a minute."""
        self._loop.start()

    def stop(self) -> None:
        """Stop after the batch that is being deleted."""
        self._loop.stop()

    def prune_periodically(self) -> None:
        """Prune once, unless the wall clock has jumped: it may be wrong, and soon be corrected."""
        before, self._clock_offset = self._clock_offset, self._measure_offset()
        if abs(self._clock_offset - before) > CLOCK_JUMP_SECONDS:
            logger.warning("wall clock jumped; pruning postponed by an hour")
            return
        try:
            pruned = self._delete(self._steps(self._retention, dry_run=False))
        except StoreError as error:
            self._report.begin(error=describe(error))
            return
        self._report.end()
        done = {what: number for what, number in asdict(pruned).items() if number}
        if any(not what.startswith("kept") for what in done):
            logger.info("old history pruned", extra=done)

    def prune(
        self,
        older_than: timedelta | None = None,
        *,
        dry_run: bool = False,
        trust_clock: bool = False,
    ) -> Pruned:
        """Prune now, to the end, in the caller's thread.

        Args:
            older_than: Replaces the retention.
            dry_run: Count what would be deleted, and delete nothing.
            trust_clock: Count the time in which no runner ran.

        Returns:
            The numbers of rows that were, or would be, deleted and kept.

        Raises:
            ValidationError: If no age is given, or it is out of bounds.
            StoreError: If the store cannot be used; batches that were deleted stay deleted, and
                the next pruning continues.
        """
        age = self._retention if older_than is None else older_than
        if age is None:
            raise ValidationError(
                Problem(
                    "no age given for the history to delete",
                    hint="use --older-than 90d, or set retention in [flowstone]",
                )
            )
        if not SHORTEST <= age <= LONGEST:
            bounds = f"{format_duration(SHORTEST)} to {format_duration(LONGEST)}"
            raise ValidationError(f"{format_duration(age)} is out of bounds: use {bounds}")
        return self._delete(self._steps(age, dry_run=dry_run, trust_clock=trust_clock))

    def _steps(
        self, age: timedelta | None, *, dry_run: bool, trust_clock: bool = False
    ) -> Iterator[Pruned]:
        default_age = SensorSettings().dedupe_for
        witnessed = WitnessedTime(() if trust_clock else self._periods(), self._clock.now())
        self._tell(witnessed, max([*self._dedupe_for.values(), age or default_age]))
        ago = witnessed.ago
        ages = {f"sensor:{name}": ago(kept) for name, kept in self._dedupe_for.items()}
        pruning = self._store.pruning(self._clock, dry_run=dry_run)
        forgetting = (pruning.forget(source, moment) for source, moment in ages.items())
        steps = chain.from_iterable(forgetting)
        if age is None:
            return steps
        keys = KeyRetention(ages, ago(default_age), ago(SCHEDULE_KEYS))
        return chain(steps, pruning.prune(ago(age), keys))

    def _periods(self) -> Iterator[Period]:
        """Yield when runners ran; of this process only what its monotonic clock confirms."""
        now = self._clock.now()
        elapsed = timedelta(seconds=self._clock.monotonic() - self._began)
        yield Period(now - elapsed, now)
        for runner_id, period in self._store.runners.periods().items():
            own = runner_id == self._runner_id
            yield Period(period.begin, period.begin) if own else period

    def _tell(self, witnessed: WitnessedTime, age: timedelta) -> None:
        """Log the gaps that prolong an age; each once."""
        for gap in witnessed.shortened(age):
            # By its begin: its end moves with each adjustment of the clock.
            if gap.begin not in self._told:
                self._told.add(gap.begin)
                logger.warning(
                    "no runner ran for long, or the clock is wrong; "
                    "keys and history are kept longer by that time",
                    extra={
                        "since": gap.begin.isoformat(timespec="seconds"),
                        "until": gap.end.isoformat(timespec="seconds"),
                        "hint": "correct the clock, or if it is right: "
                        "flowstone db prune --trust-clock",
                    },
                )

    def _delete(self, steps: Iterator[Pruned]) -> Pruned:
        total = Pruned()
        begun = self._clock.monotonic()
        for step in steps:
            total += step
            if self._loop.stopping:
                break
            self._loop.wait(self._clock.monotonic() - begun)
            begun = self._clock.monotonic()
        return total

    def _step(self) -> float:
        self.prune_periodically()
        return PERIOD_SECONDS

    def _measure_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
