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
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.periodic_thread import PeriodicThread

logger = logging.getLogger("flowstone.reconciler")

RECONCILE_SECONDS = 1.0
"""Seconds between two reconciliations with what operators and other runners did."""

TAKEOVER_PERIOD = 10
"""Every tenth reconciliation also claims what runners with expired leases own."""

AnyAssignment: TypeAlias = Assignment[Any]


class Reconciler:
    """Reconciles the assignments of a runner with the store.

    Args:
        assignments: The assignments, of sensors and of schedules.
        on_reconciled: Called after each reconciliation of the thread, also if it failed.
    """

    def __init__(
        self,
        assignments: Sequence[AnyAssignment],
        session: RunnerSession,
        on_reconciled: Callable[[], None],
    ) -> None:
        self._assignments = assignments
        self._outage = session.outage
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

    def open(self) -> None:
        """Declare what the runner has, and claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        for assignment in self._assignments:
            assignment.open()

    def start(self) -> None:
        """Begin to reconcile once a second, in a thread."""
        self._loop.start()

    def wake(self) -> None:
        """Reconcile now, if the thread runs; any thread, returns at once."""
        self._loop.wake()

    def reconcile(self) -> None:
        """Reconcile once: report lost assignments, claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        with self._turn:
            # A claim may have been committed though its answer was lost: this runner owns something
            # and does not know.
            take_over = next(self._numbers) % TAKEOVER_PERIOD == 0 or self._failed
            for assignment in self._assignments:
                assignment.reconcile(take_over=take_over)

    def recheck(self) -> None:
        """Reconcile once by the names of all that is owned: the lease had ended. Any thread.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._failed = True
        self.reconcile()

    def stop(self) -> None:
        """Stop the thread."""
        self._loop.stop()

    def _step(self) -> float:
        try:
            self.reconcile()
            self._failed = False
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
