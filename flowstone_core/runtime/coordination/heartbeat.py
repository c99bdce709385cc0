"""Heartbeat: registers the runner in the store and renews its lease."""

from __future__ import annotations

import logging
import math
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version

from flowstone_core.errors import StoreError
from flowstone_core.model.clock import Clock, StoreClock
from flowstone_core.model.engine import RunnerCondition, RunnerInfo
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.role import Role
from flowstone_core.runtime.coordination.clock_watch import ClockWatch
from flowstone_core.runtime.coordination.lease import Lease
from flowstone_core.runtime.coordination.retirement import machine_id
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.store import SessionLock, Store

logger = logging.getLogger("flowstone.heartbeat")

PROBE_SECONDS = 1.0
"""Seconds between two beats during a store outage: the first beat that succeeds ends it."""

TOLERANCE = 0.05
"""Seconds by which a beat may come early, rather than a second late."""

CLOCK_JUMP = timedelta(hours=1)
"""Wall clock and monotonic clock may drift apart by this much before the start is corrected."""


class Heartbeat:
    """Registers this process in the store and renews its lease.

    A runner whose lease expires loses its sensors, schedules and materializations to the other
    runners.

    Args:
        duration: How long a renewal of the lease is valid; it is renewed five times as often.
        role: The role of this runner.
        engine: The name of its engine.

    Attributes:
        runner: This process, as the store knows it.
        lease: The lease, as far as this process knows it without the store.
        outage: Circuit breaker of the store; a beat ends the outage at the latest.
        session: Store, runner id, clock, lease and outage, for the other parts of the runner.
        inspect: Returns the condition of this process; stored by each beat.
        on_expired: Called after a lease that had ended was registered again, before the next tick
            begins: it reads from the store what this runner still owns.
        loaded: The settings that this process has loaded, as JSON; stored by `start`.
        workload: The digest of all that this process is able to tick; None if it ticks nothing.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        duration: timedelta,
        role: Role = Role.ALL,
        engine: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._duration = duration
        self.lease = Lease(duration, clock)
        self._clock_watch = ClockWatch(clock)
        self._lock: SessionLock | None = None
        self._beat_at = -math.inf
        self._loop = PeriodicThread("heartbeat", self._step, clock, first_wait=self.lease.period)
        self._probing = False
        self._expired = False
        self._slow_commit = ReportOnce(
            logger,
            "a commit takes too long; the lease is not renewed once it has lasted for a lease",
            "the commit that took too long has ended",
        )
        self.inspect: Callable[[], RunnerCondition] = RunnerCondition
        self.on_expired: Callable[[], None] = lambda: None
        self.loaded: str | None = None
        self.workload: str | None = None
        self.outage = StoreOutage(self.lease)
        self.outage.listen(self._loop.wake)
        self._began = clock.monotonic()
        self.runner = _this_process(clock.now(), duration, role, engine)
        self.session = RunnerSession(store, self.runner.id, clock, self.outage, self.lease)

    @property
    def alive(self) -> bool:
        """True while the thread that renews the lease runs."""
        return self._loop.alive

    def start(self) -> None:
        """Register, and begin to renew the lease.

        Raises:
            StoreError: If the store cannot be written.
        """
        asked_at = self._clock.monotonic()
        self._clock_watch.answered(self._store.now(), asked_at)
        if isinstance(self._clock, StoreClock):  # silence is measured on the clock of the store
            self._lock = self._store.session_lock(self.runner.id)
        try:
            if self._lock is not None:
                self._lock.open()
            self._register()
        except BaseException:
            self._close_lock()
            raise
        self.lease.renewed(asked_at)
        self._probing = self.outage.on
        self.lease.start()
        self._loop.start()

    def beat(self) -> None:
        """Renew the lease once; register again if it has expired.

        The lease is not renewed while a commit has lasted for longer than it: such a runner
        holds its sensors and writes nothing, so another one has to take over.
        """
        lasted = self.session.commits.seconds(self._clock)
        if lasted < self.lease.seconds / 3:
            self._slow_commit.end()
        else:
            self._slow_commit.begin(seconds=round(lasted))
        if lasted >= self.lease.seconds:
            return
        began_at = self._beat_at = self._clock.monotonic()
        try:
            self._renew(began_at)
            if self._expired:
                self.on_expired()
                self._expired = False
        except StoreError as error:
            self.outage.begin(error)
            return
        had_stepped_down = not self.lease.held
        self.lease.renewed(began_at)
        try:
            if self.outage.on:  # a lease takes less than a tick: a row that there is already
                self._store.check_writable()
        except StoreError as error:
            self.outage.begin(error)
            return
        self.outage.end()
        if had_stepped_down:
            self.outage.tell()

    def stop(self) -> None:
        """Stop renewing and sign off: other runners may claim what this one owned at once."""
        self.lease.stop()
        self._loop.stop()
        now = self._clock.now()
        with suppress(StoreError):  # the lease expires by itself
            self._follow_clock(now)
            self._store.runners.stop(self.runner.id, now)
        if not self._loop.alive:
            self._close_lock()

    def _close_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _renew(self, began_at: float) -> None:
        """Renew the lease by one statement, or register again.

        Raises:
            StoreError: If the store cannot be used.
        """
        now = self._clock.now()
        self._follow_clock(now)
        condition = replace(self.inspect(), clock_offset=self._clock_watch.offset)
        beat = self._store.runners.beat(self.runner.id, now, self._duration, condition, self._lock)
        if beat is not None:
            self._clock_watch.answered(beat.answered_at, began_at)
        # A clock that stood still with the machine renews a lease that has long ended.
        if beat is None or self._clock.now() - now >= self._duration:
            self._expired = True
            self.lease.unsettle()
            logger.warning("lease expired; registering this runner again")
            self._register()

    def _register(self) -> None:
        now = self._clock.now()
        key = None if self._lock is None else self._lock.key
        info = replace(self.runner, lease_until=now + self._duration, beat_at=now, lock_key=key)
        self._store.runners.register(info, self.loaded, self.workload)

    def _follow_clock(self, now: datetime) -> None:
        """Correct the stored start if the wall clock was set.

        The time from the start to the last lease is one that a runner witnessed: it must not
        contain a jump of the clock, or the next runner takes all rows for that much older.
        """
        started_at = now - timedelta(seconds=self._clock.monotonic() - self._began)
        if abs(started_at - self.runner.started_at) > CLOCK_JUMP:
            self.runner = replace(self.runner, started_at=started_at)
            self._register()

    def _step(self) -> float:
        # Woken because an outage has just begun or ended: the store gets its wait first.
        if self.outage.on is self._probing and (self.outage.on or self._is_due()):
            self.beat()
        self._probing = self.outage.on
        if self._probing or self._lock is not None:
            return min(PROBE_SECONDS, self.lease.period)
        return self.lease.period

    def _is_due(self) -> bool:
        """Return True if it is time to beat, or the session that holds the lock was lost.

        Others take a silent runner without a session for dead, so a session is replaced at once.
        """
        if self._lock is None:
            return True
        waited = self._clock.monotonic() - self._beat_at
        return waited >= self.lease.period - TOLERANCE or not self._lock.lives()


def _this_process(now: datetime, lease: timedelta, role: Role, engine: str | None) -> RunnerInfo:
    return RunnerInfo(
        id=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=machine_id(),
        version=version("flowstone-core"),
        started_at=now,
        lease_until=now + lease,
        role=role.value,
        engine=engine,
        beat_at=now,
    )
