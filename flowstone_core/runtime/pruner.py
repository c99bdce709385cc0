"""Pruning by itself: once an hour, what nobody needs any more goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from itertools import chain

from flowstone_core.errors import Problem, StoreError, ValidationError
from flowstone_core.model.clock import Clock
from flowstone_core.model.duration import format_duration
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.model.setting_types import LONGEST, SHORTEST
from flowstone_core.store import KeyRetention, Pruned, Store

logger = logging.getLogger("flowstone.pruner")

FIRST = timedelta(minutes=1)
"""How long after the start it begins: the start has enough to do."""

PERIOD = timedelta(hours=1)
"""From one time to the next."""

JUMP = timedelta(hours=1)
"""A clock that has jumped by more since the last time is believed the next time."""

SCHEDULES = timedelta(days=7)
"""How long the instants of a schedule are remembered: as far as a clock may be set back."""


class Pruner:
    """Forgets the keys of old events, and deletes old history.

    Started, it does so in a thread of its own, a few rows at a time, with a rest after each batch
    as long as the batch took: neither a tick nor another process waits for more than one.

    Args:
        dedupe_for: How long the keys of each sensor's events are remembered, by its name.
        retention: How long history is kept; None for ever.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dedupe_for: Mapping[str, timedelta],
        retention: timedelta | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._dedupe_for = dedupe_for
        self._retention = retention
        self._waker = clock.waker()
        self._stopping = False
        self._down = False
        self._offset = self._read_offset()
        self._thread = threading.Thread(target=self._run, name="flowstone-pruner", daemon=True)

    def start(self) -> None:
        """Begin, in a minute."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch that is being deleted."""
        self._stopping = True
        self._waker.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def turn(self) -> None:
        """Prune once, unless the clock has just jumped: it may be wrong, and soon be mended."""
        offset, self._offset = self._offset, self._read_offset()
        if abs(self._offset - offset) > JUMP.total_seconds():
            logger.warning("the clock has jumped; nothing is pruned before the next hour")
            return
        try:
            pruned = self._carry_out(self._steps(self._retention, dry_run=False))
        except StoreError as error:
            if not self._down:
                self._down = True
                logger.error(  # noqa: TRY400 - the cause is in the text, once for each outage
                    "old history cannot be pruned; it is tried again each hour",
                    extra={"error": describe(error)},
                )
            return
        if self._down:
            self._down = False
            logger.warning("old history is pruned again")
        done = {what: number for what, number in asdict(pruned).items() if number}
        if any(not what.startswith("kept") for what in done):
            logger.info("old history was pruned", extra=done)

    def prune(self, older_than: timedelta | None = None, *, dry_run: bool = False) -> Pruned:
        """Prune now, to the end; in the caller's thread.

        Args:
            older_than: Instead of the retention.
            dry_run: Whether to say what would be deleted, and delete nothing.

        Raises:
            ValidationError: If there is no age, or it is out of bounds.
            StoreError: If the store cannot be used; what was deleted till then stays deleted, and
                the next time goes on.
        """
        age = self._retention if older_than is None else older_than
        if age is None:
            raise ValidationError(
                Problem(
                    "nothing says how old history has to be to be deleted",
                    hint="say --older-than 90d, or set retention in [flowstone]",
                )
            )
        if not SHORTEST <= age <= LONGEST:
            bounds = f"{format_duration(SHORTEST)} to {format_duration(LONGEST)}"
            raise ValidationError(f"{format_duration(age)} is out of bounds: use {bounds}")
        return self._carry_out(self._steps(age, dry_run=dry_run))

    def _steps(self, age: timedelta | None, *, dry_run: bool) -> Iterator[Pruned]:
        now = self._clock.now()
        own = {f"sensor:{name}": now - kept for name, kept in self._dedupe_for.items()}
        default = now - SensorSettings().dedupe_for
        pruning = self._store.pruning(dry_run=dry_run)
        forgetting = (pruning.forget(source, moment) for source, moment in own.items())
        steps = chain.from_iterable(forgetting)
        if age is None:
            return steps
        return chain(steps, pruning.prune(now - age, KeyRetention(own, default, now - SCHEDULES)))

    def _carry_out(self, steps: Iterator[Pruned]) -> Pruned:
        total = Pruned()
        begun = self._clock.monotonic()
        for step in steps:
            total += step
            if self._stopping:
                break
            self._waker.wait(self._clock.monotonic() - begun)
            begun = self._clock.monotonic()
        return total

    def _run(self) -> None:
        period = FIRST
        while not self._stopping:
            self._waker.wait(period.total_seconds())
            if not self._stopping:
                self.turn()
            period = PERIOD

    def _read_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
