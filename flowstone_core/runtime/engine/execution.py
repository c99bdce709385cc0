"""Execution: one attempt; calls the asset function and hands on the result."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import cast

from flowstone_core.errors import AttemptTimeoutError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.materialization import Claim
from flowstone_core.runtime.engine.asset_host import AssetHost, ChildPool, ids
from flowstone_core.runtime.isolation.child_process import ChildProcess
from flowstone_core.runtime.isolation.thread_pool import Call

logger = logging.getLogger("flowstone.engine")


class Execution(Call):
    """Execution of one claimed attempt, to its end, whatever the asset function does.

    Args:
        claim: The attempt.
        setup: The setup of the engine.
        on_result: Called once, with the result to commit; with None if there is none, because the
            attempt was cancelled or taken over.
        children: Lends a child process if the asset runs in processes.

    Attributes:
        claim: The attempt.
        claimed_at: When it was claimed, on the monotonic clock.
        ids: The fields of log lines about it.
        given_up: True if its result need not be stored.
        over: True once its result was committed, found to be stale, or given up.
    """

    def __init__(
        self,
        claim: Claim,
        setup: EngineSetup,
        on_result: Callable[[Execution, AttemptResult | None], None],
        children: ChildPool,
    ) -> None:
        self._asset = setup.assets[claim.materialization.asset]
        timeout = self._asset.timeout
        super().__init__(math.inf if timeout is None else timeout.total_seconds())
        self.claim = claim
        self._setup = setup
        self._on_result = on_result
        self._children = children
        self._host = AssetHost(setup.redact, setup.clock)
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._cancelled = threading.Event()
        self.claimed_at = setup.clock.monotonic()
        self._begun = False
        self._returned = False
        self._timed_out = False
        self.given_up = False
        self.over = False
        self.ids = ids(claim)

    def run(self) -> None:
        """Call the asset function and hand on the result."""
        with self._lock:
            # Without a lease another runner may have taken over what waited here for a thread.
            self._begun = not self._cancelled.is_set() and self._setup.may_claim()
        if not self._begun:  # or cancelled or taken back in this time
            self._on_result(self, None)
            return
        in_process = self._asset.run_in == "process"
        result = self._in_process() if in_process else self._in_thread()
        with self._lock:
            self._returned = True
            timed_out = self._timed_out
        if timed_out and not in_process:
            logger.warning("late result discarded: attempt timed out before", extra=self.ids)
        elif result is not None:
            self._on_result(self, result)
        else:
            self._on_result(self, self._time_out() if timed_out else None)

    def expired(self) -> None:
        """End the attempt as timed out; a process is killed, a thread's late result discarded."""
        with self._lock:
            if self._returned:
                return
            self._timed_out = True
        self._cancelled.set()
        if self._asset.run_in == "process":
            self._kill()
        else:
            self._on_result(self, self._time_out())

    def cancel(self) -> None:
        """Cancel the asset function cooperatively, or kill its process; any thread."""
        # After its return the token may be stale because of the attempt's own commit.
        if not self._returned and not self._cancelled.is_set():
            self._cancelled.set()
            logger.warning("running attempt cancelled or taken over", extra=self.ids)
            self._kill()

    def give_up(self) -> None:
        """Cancel the attempt, whose result need not be stored; any thread."""
        self._cancelled.set()
        self.given_up = True
        self._kill()

    def take_back(self) -> bool:
        """Keep an attempt that waits for a thread from starting; return False if it has started."""
        with self._lock:
            if not self._begun:
                self._cancelled.set()
            return not self._begun

    def fail(self, error: BaseException) -> AttemptResult:
        """Return the result of the attempt if it has failed with this error, and log it."""
        return self._host.fail(self._asset, self.claim, error)

    def _in_thread(self) -> AttemptResult:
        return self._host.attempt(self._asset, self.claim, self._cancelled)

    def _in_process(self) -> AttemptResult | None:
        """Run the attempt in a child process; return None if it was killed because of `cancel`."""
        child = self._children.borrow()
        with self._lock:
            self._child = child
        if self._cancelled.is_set():
            self._kill()
        try:
            result = cast("AttemptResult", child.call("attempt", self._asset, self.claim))
        except Exception as error:  # noqa: BLE001 - however it fails, the attempt has an end
            child.close()
            if self._cancelled.is_set():
                return None
            return self.fail(error)
        with self._lock:
            self._child = None
            perhaps_killed = self._cancelled.is_set()
        if perhaps_killed:
            child.close()
        else:
            self._children.give_back(child)
        return result

    def _kill(self) -> None:
        with self._lock:  # a child that was given back belongs to another attempt
            if self._child is not None:
                self._child.kill(final=True)

    def _time_out(self) -> AttemptResult:
        hint = "its process was killed"
        if self._asset.run_in == "thread":
            hint = "its late result is discarded; a thread cannot be killed, a process can: run_in"
        message = f"the attempt did not end within its timeout of {self.deadline:g} s"
        return self.fail(AttemptTimeoutError(message, hint=hint))
