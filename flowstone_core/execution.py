"""One attempt in this process: its asset function is called, contained, and its end committed."""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from flowstone_core.asset import Context
from flowstone_core.attempt import AttemptEnd, fail, succeed
from flowstone_core.engine import EngineSetup
from flowstone_core.errors import (
    StaleAttemptError,
    StoreError,
    ValidationError,
    describe,
    describe_traceback,
)
from flowstone_core.logger import IdsLogger
from flowstone_core.materialization import (
    AttemptOutcome,
    Claim,
    Materialization,
    MaterializationState,
)
from flowstone_core.partition import decode_partition, format_partition
from flowstone_core.pool import Call
from flowstone_core.retry import backoff_delay

logger = logging.getLogger("flowstone.engine")

_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(seconds=30)


class Execution(Call):
    """Runs one claimed attempt to its end, whatever the asset function does.

    Args:
        claim: The attempt.
        setup: What the engine was made with.
        on_end: Called when it is over: committed, found to be stale, or given up.
    """

    def __init__(
        self, claim: Claim, setup: EngineSetup, on_end: Callable[[Execution], None]
    ) -> None:
        super().__init__(deadline=math.inf)  # an asset function may take as long as it takes
        self.claim = claim
        self._setup = setup
        self._on_end = on_end
        self._cancelled = threading.Event()
        self._returned = False
        self._given_up = False
        self._waker = setup.clock.waker()
        materialization = claim.materialization
        self._ids: dict[str, object] = {
            "materialization": materialization.id,
            "asset": materialization.asset,
            "partition": _shown(materialization.partition),
            "run_id": materialization.run_id,
            "attempt": materialization.attempt,
        }

    def run(self) -> None:
        """Call the asset function and commit what it amounts to."""
        try:
            end = self._attempt()
            self._returned = True
            for materialization in self._finish(end):
                announce(self._setup, materialization)
        finally:
            self._on_end(self)

    def expired(self) -> None:
        """Do nothing: there is no deadline."""

    def cancel(self) -> None:
        """Tell the asset function that its result will be discarded; any thread."""
        # One that has returned cannot be told, and its token may be stale by its own commit.
        if not self._returned and not self._cancelled.is_set():
            self._cancelled.set()
            logger.warning("cancelled or taken over while it runs", extra=self._ids)

    def give_up(self) -> None:
        """Try no longer to commit its end, if the store cannot be used; any thread."""
        self._cancelled.set()
        self._given_up = True
        self._waker.set()

    def _attempt(self) -> AttemptEnd:
        asset = self._setup.assets[self.claim.materialization.asset]
        try:
            result: object = asset.function(self._context())
            if inspect.iscoroutine(result):
                result.close()
            return succeed(result)
        except BaseException as error:  # noqa: BLE001 - it may raise anything, SystemExit too
            return self._failed(error)

    def _context(self) -> Context:
        materialization = self.claim.materialization
        return Context(
            asset=materialization.asset,
            partition=decode_partition(materialization.partition),
            run_id=materialization.run_id,
            attempt=materialization.attempt,
            events=self.claim.events,
            upstream=self.claim.upstream,
            logger=IdsLogger(logging.getLogger("flowstone.asset"), self._ids),
            _cancelled=self._cancelled,
        )

    def _failed(self, error: BaseException) -> AttemptEnd:
        setup, materialization = self._setup, self.claim.materialization
        asset = setup.assets[materialization.asset]
        backoff = partial(backoff_delay, first=asset.backoff, limit=asset.backoff_limit)
        end = fail(materialization, error, setup.clock.now(), backoff, setup.redact)
        if end.outcome is AttemptOutcome.FAILED:
            stack = setup.redact(describe_traceback(error))
            extra = {**self._ids, "error": end.error, "stack": stack}
            logger.warning("attempt failed", extra=extra)
        return end

    def _finish(self, end: AttemptEnd) -> Sequence[Materialization]:
        setup = self._setup
        failures = 0
        while True:
            try:
                changed = setup.queue.finish(self.claim, end, setup.assets, setup.clock.now())
            except StaleAttemptError as error:
                # After a failure that may be its own commit, whose answer did not arrive.
                logger.warning(
                    "result discarded: the attempt is not the current one",
                    extra={**self._ids, "outcome": end.outcome.value, "error": describe(error)},
                )
                return ()
            except Exception as error:
                if end.state is MaterializationState.COMPLETED and not isinstance(
                    error, StoreError
                ):
                    logger.exception("the result cannot be stored", extra=self._ids)
                    end = self._failed(error)
                    continue
                failures += 1
                self._wait_for_the_store(error, failures)
                if self._given_up:
                    return ()
            else:
                if failures:
                    logger.warning("the end of an attempt is stored after all", extra=self._ids)
                return changed

    def _wait_for_the_store(self, error: Exception, failures: int) -> None:
        if failures == 1:
            logger.error(
                "the end of an attempt cannot be stored; it is tried until it can",
                extra={**self._ids, "error": describe(error, self._setup.redact)},
            )
        delay = backoff_delay(failures, _FIRST_WAIT, _LONGEST_WAIT)
        self._waker.wait(delay.total_seconds())


def announce(setup: EngineSetup, materialization: Materialization) -> None:
    """Tell who wants to know that a materialization changed; never raises."""
    try:
        setup.announce(materialization)
    except Exception:
        logger.exception(
            "a materialization could not be announced",
            extra={"materialization": materialization.id},
        )


def _shown(partition: str) -> str:
    try:
        return format_partition(decode_partition(partition))
    except ValidationError:  # it fails the attempt, when the asset function should be told it
        return partition
