"""Asset host: calls asset functions and contains their errors, in this process or a child."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from functools import partial

from flowstone_core.model.asset import Asset, Context
from flowstone_core.model.attempt_result import AttemptResult, fail, succeed
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.context_logger import ContextLogger
from flowstone_core.model.materialization import AttemptOutcome, Claim
from flowstone_core.model.partition import decode_partition, show_partition
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.safe_text import describe_traceback
from flowstone_core.plugin.fork_guard import fork_guard
from flowstone_core.runtime.isolation.child_process import ChildProcess

logger = logging.getLogger("flowstone.engine")


class AssetHost:
    """Calls asset functions in the calling thread.

    Args:
        redact: Hides secrets in error texts and metadata; a `Redactor` learns those that a
            function takes with `Context.secret`.
        clock: Gives the time of a failure.
    """

    def __init__(self, redact: Callable[[str], str], clock: Clock | None = None) -> None:
        self.redact = redact
        self._clock = clock or SystemClock()

    def attempt(
        self, asset: Asset, claim: Claim, cancelled: threading.Event | None = None
    ) -> AttemptResult:
        """Call the asset function and return the result of the attempt; never raises.

        Args:
            cancelled: Set when the result of the function will be discarded.
        """
        try:
            with fork_guard():
                learn = self.redact.add if isinstance(self.redact, Redactor) else lambda _: None
                context = _context(claim, cancelled or threading.Event(), learn)
                result: object = asset.function(context)
                if inspect.iscoroutine(result):
                    result.close()
                return succeed(result, self.redact)
        except BaseException as error:  # noqa: BLE001 - it may raise anything, SystemExit too
            return self.fail(asset, claim, error)

    def fail(self, asset: Asset, claim: Claim, error: BaseException) -> AttemptResult:
        """Return the result of an attempt that failed, and log it."""
        backoff = partial(backoff_delay, first=asset.backoff, limit=asset.backoff_limit)
        end = fail(claim.materialization, error, self._clock.now(), backoff, self.redact)
        if end.outcome is AttemptOutcome.FAILED:
            stack = self.redact(describe_traceback(error))
            extra = {**ids(claim), "error": end.error, "stack": stack}
            logger.warning("attempt failed", extra=extra)
        return end


class ChildPool:
    """Pool of child processes for asset functions; each runs one attempt at a time.

    Args:
        redact: Hides secrets in error texts.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._lock = threading.Lock()
        self._idle: list[ChildProcess] = []
        self._closed = False

    def borrow(self) -> ChildProcess:
        """Return an idle or new child process that serves an `AssetHost`; any thread."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return ChildProcess("flowstone-asset", AssetHost, self._redact)

    def give_back(self, child: ChildProcess) -> None:
        """Take back a child process that has answered; any thread."""
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End the idle child processes, and the others when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()


def ids(claim: Claim) -> dict[str, object]:
    """Return the fields of log lines about an attempt."""
    materialization = claim.materialization
    return {
        "materialization": materialization.id,
        "asset": materialization.asset,
        "partition": show_partition(materialization.partition),
        "run_id": materialization.run_id,
        "attempt": materialization.attempt,
    }


def _context(claim: Claim, cancelled: threading.Event, learn: Callable[[str], None]) -> Context:
    materialization = claim.materialization
    return Context(
        asset=materialization.asset,
        partition=decode_partition(materialization.partition),
        run_id=materialization.run_id,
        attempt=materialization.attempt,
        events=claim.events,
        upstream=claim.upstream,
        logger=ContextLogger(logging.getLogger("flowstone.asset"), ids(claim)),
        _cancelled=cancelled,
        _learn=learn,
    )
