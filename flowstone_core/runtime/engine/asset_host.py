"""Where an asset function is called: contained, in whichever process it is."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from functools import partial

from flowstone_core.errors import ValidationError
from flowstone_core.model.asset import Asset, Context
from flowstone_core.model.attempt_result import AttemptResult, fail, succeed
from flowstone_core.model.backoff import backoff_delay
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.context_logger import ContextLogger
from flowstone_core.model.materialization import AttemptOutcome, Claim
from flowstone_core.model.partition import decode_partition, format_partition
from flowstone_core.model.safe_text import describe_traceback
from flowstone_core.runtime.isolation.child_process import ChildProcess

logger = logging.getLogger("flowstone.engine")


class AssetHost:
    """Calls asset functions, in the thread that asks.

    Args:
        redact: Hides secrets in error texts.
        clock: Reads the time.
    """

    def __init__(self, redact: Callable[[str], str], clock: Clock | None = None) -> None:
        self._redact = redact
        self._clock = clock or SystemClock()

    def attempt(
        self, asset: Asset, claim: Claim, cancelled: threading.Event | None = None
    ) -> AttemptResult:
        """Call the asset function, and say what that amounts to; never raises.

        Args:
            cancelled: Tells the function that its result will be discarded.
        """
        try:
            result: object = asset.function(_context(claim, cancelled or threading.Event()))
            if inspect.iscoroutine(result):
                result.close()
            return succeed(result)
        except BaseException as error:  # noqa: BLE001 - it may raise anything, SystemExit too
            return self.fail(asset, claim, error)

    def fail(self, asset: Asset, claim: Claim, error: BaseException) -> AttemptResult:
        """Say what it amounts to that an attempt failed, and log it."""
        backoff = partial(backoff_delay, first=asset.backoff, limit=asset.backoff_limit)
        end = fail(claim.materialization, error, self._clock.now(), backoff, self._redact)
        if end.outcome is AttemptOutcome.FAILED:
            stack = self._redact(describe_traceback(error))
            extra = {**ids(claim), "error": end.error, "stack": stack}
            logger.warning("attempt failed", extra=extra)
        return end


class ChildPool:
    """Processes for asset functions: each makes one attempt at a time, and is used again.

    Args:
        redact: Hides secrets in error texts.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._lock = threading.Lock()
        self._idle: list[ChildProcess] = []
        self._closed = False

    def borrow(self) -> ChildProcess:
        """Return a child, whose ``attempt`` is that of an `AssetHost`; any thread."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return ChildProcess("flowstone-asset", AssetHost, self._redact)

    def give_back(self, child: ChildProcess) -> None:
        """Take a child back that has answered; any thread."""
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End those that are idle, and the others when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()


def ids(claim: Claim) -> dict[str, object]:
    """Return what log lines about an attempt carry."""
    materialization = claim.materialization
    return {
        "materialization": materialization.id,
        "asset": materialization.asset,
        "partition": _shown(materialization.partition),
        "run_id": materialization.run_id,
        "attempt": materialization.attempt,
    }


def _context(claim: Claim, cancelled: threading.Event) -> Context:
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
    )


def _shown(partition: str) -> str:
    try:
        return format_partition(decode_partition(partition))
    except ValidationError:  # it fails the attempt, when the asset function should be told it
        return partition
