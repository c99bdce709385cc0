"""Reconciler: keeps the assignments of a runner in step with the store, once a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeAlias

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.assignment import Assignment
from flowstone_core.runtime.coordination.retirement import retire_dead
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.shares import Shares
from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.store import Survey

logger = logging.getLogger("flowstone.reconciler")

RECONCILE_SECONDS = 1.0
"""Seconds between two reconciliations with what operators and other runners did."""

RECHECK_PERIOD = 10
"""Every tenth reconciliation compares the names of all that is owned, and frees orphans."""

AnyAssignment: TypeAlias = Assignment[Any]


class Reconciler:
    """Reconciles the assignments of a runner with the store.

    Args:
        assignments: The assignments, of sensors and of schedules.
        on_retired: Called after runners were taken for dead; it recovers their attempts.
        on_reconciled: Called after each reconciliation of the thread, also if it failed.
    """

    def __init__(
        self,
        assignments: Sequence[AnyAssignment],
        session: RunnerSession,
        on_retired: Callable[[], None],
        on_reconciled: Callable[[], None],
    ) -> None:
        self._assignments = assignments
        self._store = session.store
        self._runner_id = session.runner_id
        self._clock = session.clock
        self._lease = session.lease
        self._outage = session.outage
        self._shares = Shares(session.store, session.runner_id)
        self._on_retired = on_retired
        self._on_reconciled = on_reconciled
        self._numbers = count(1)
        self._failed = False
        self._turn = threading.Lock()
        self._refusal = ReportOnce(
            logger,
            "cannot read sensor and schedule ownership from the store; trying again every second",
            "sensor and schedule ownership read from the store again",
        )
        self._loop = PeriodicThread(
            "reconciler", self._step, session.clock, first_wait=RECONCILE_SECONDS
        )

    @property
    def problem(self) -> str | None:
        """The error of the last reconciliation of the thread, other than of the store."""
        return self._loop.problem

    def open(self, *, everything: bool = False) -> None:
        """Declare what the runner has, and claim its share of what is free.

        Args:
            everything: Claim all that is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        for assignment in self._assignments:
            assignment.declare()
        self._failed = True
        self._reconcile(everything=everything)

    def start(self) -> None:
        """Begin to reconcile once a second, in a thread."""
        self._loop.start()

    def wake(self) -> None:
        """Reconcile now, if the thread runs; any thread, returns at once."""
        self._loop.wake()

    def reconcile(self) -> None:
        """Reconcile once: report lost assignments, hand over a surplus, claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._reconcile(everything=False)

    def recheck(self) -> None:
        """Reconcile once by the names of all that is owned: the lease had ended. Any thread.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._failed = True
        self._reconcile(everything=False)

    def stop(self) -> None:
        """Stop the thread."""
        self._loop.stop()

    def _reconcile(self, *, everything: bool) -> None:
        with self._turn:
            recheck = next(self._numbers) % RECHECK_PERIOD == 0 or self._failed
            survey = self._survey(recheck=recheck)
            if not (everything or self._may_claim(survey)):
                for assignment in self._assignments:
                    assignment.give_up(survey, recheck=recheck)
                return
            self._shares.update(survey.peers)
            for assignment in self._assignments:
                assignment.reconcile(survey, self._shares, recheck=recheck, everything=everything)
            self._failed = False

    def _survey(self, *, recheck: bool) -> Survey:
        """Survey the store; if runners have died, retire them and survey it again."""
        store, runner_id, now = self._store, self._runner_id, self._clock.now()
        survey = store.survey(runner_id, now)
        if not (self._lease.settled and self._may_claim(survey)):
            return survey
        retired = retire_dead(store, survey.peers, runner_id, now)
        if retired:
            self._on_retired()
        if retired or (recheck and store.peers.release_orphans(now)):
            return store.survey(runner_id, now)
        return survey

    def _may_claim(self, survey: Survey) -> bool:
        """Return True if this runner holds its lease, by its own clock and by the store.

        Where the clock was set forward or the machine slept, the leases of all have ended.
        """
        me = (peer for peer in survey.peers if peer.id == self._runner_id)
        return self._lease.held and any(peer.gone is None for peer in me)

    def _step(self) -> float:
        try:
            self.reconcile()
            self._refusal.end()
        except (StoreUnavailableError, StoreLostError) as error:
            self._failed = True
            self._outage.begin(error)
        except StoreError as error:
            # Not an outage: a refused read may last while ticks can still be written.
            self._failed = True
            self._refusal.begin(error=describe(error))
        finally:
            self._on_reconciled()
        return RECONCILE_SECONDS
