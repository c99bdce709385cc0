"""Committer: the thread that writes ticks; ticks that end together share one transaction."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flowstone_core.errors import StoreLostError, StoreUnavailableError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.periodic_thread import start_thread
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker
from flowstone_core.store import Commit, TickResult

T = TypeVar("T")

logger = logging.getLogger("flowstone.committer")

GROUP_LIMIT = 100
"""Most ticks in one transaction: a larger one gains little and delays other writers."""


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """Result of writing a decision to the store.

    Attributes:
        committed: True if all its transactions were committed.
        stale: True if the sensor or schedule was changed or taken over before the commit.
    """

    ticker: Ticker
    decision: AnyDecision
    committed: bool
    stale: bool = False


class Committer:
    """Group commit: a thread that writes decisions to the store and reports their outcomes.

    Args:
        session: The runner's session; a failed write begins an outage, a successful one ends it.
        assets: All assets, for the materializations of the events.
        redact: Hides secrets in error texts.
        on_result: Called with each transaction's results, after the commit.
        on_outcome: Called once for each decision, last.
    """

    def __init__(
        self,
        session: RunnerSession,
        assets: AssetGraph,
        redact: Redactor,
        on_result: Callable[[TickResult], None],
        on_outcome: Callable[[CommitOutcome], None],
    ) -> None:
        self._store = session.store
        self._runner_id = session.runner_id
        self._clock = session.clock
        self._outage = session.outage
        self._commits = session.commits
        self._assets = assets
        self._redact = redact
        self._on_result = on_result
        self._on_outcome = on_outcome
        self._queue: queue.SimpleQueue[tuple[Ticker, AnyDecision] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flowstone-committer", daemon=True)

    def start(self) -> None:
        """Start the thread; call once."""
        start_thread(self._thread, self._clock)

    def put(self, ticker: Ticker, decision: AnyDecision) -> None:
        """Queue a decision for writing; any thread, returns at once."""
        self._queue.put((ticker, decision))

    def close(self, timeout: float) -> None:
        """Write what is queued, then end; wait at most ``timeout`` seconds of real time."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        # A tick with many transactions gets one of them written between the ticks of others: a
        # sensor that finds a million events at once delays nobody.
        large: deque[tuple[Ticker, AnyDecision, int]] = deque()
        ending = False
        while not ending or large:
            group, ending = ([], True) if ending else self._take(wait=not large)
            singles = [item for item in group if len(item[1].commits) == 1]
            for outcome in self._write_group(singles):
                _notify(self._on_outcome, outcome)
            large += ((*item, 0) for item in group if len(item[1].commits) > 1)
            if large:
                ticker, decision, number = large.popleft()
                ended = self._write_alone(ticker, decision, number)
                if ended is None:
                    large.append((ticker, decision, number + 1))
                else:
                    _notify(self._on_outcome, ended)

    def _take(self, *, wait: bool) -> tuple[list[tuple[Ticker, AnyDecision]], bool]:
        """Take at most a group from the queue; return it, and True if it is the last."""
        group: list[tuple[Ticker, AnyDecision]] = []
        while len(group) < GROUP_LIMIT and ((wait and not group) or not self._queue.empty()):
            item = self._queue.get()
            if item is None:
                return group, True
            group.append(item)
        return group, False

    def _write_group(self, group: Sequence[tuple[Ticker, AnyDecision]]) -> Iterator[CommitOutcome]:
        if not group:
            return
        try:
            results = self._write([decision.commits[0] for _, decision in group])
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            for ticker, decision in group:
                yield CommitOutcome(ticker, decision, committed=False)
            return
        except Exception:
            # The data of one tick must not fail the others: each gets its own transaction, and
            # only a tick that the store refuses again has failed.
            logger.debug("group commit refused; writing each tick alone", exc_info=True)
            for ticker, decision in group:
                outcome = self._write_alone(ticker, decision, 0)
                if outcome is not None:
                    yield outcome
            return
        for (ticker, decision), result in zip(group, results, strict=True):
            yield CommitOutcome(ticker, decision, result.committed, stale=not result.committed)

    def _write_alone(
        self, ticker: Ticker, decision: AnyDecision, number: int
    ) -> CommitOutcome | None:
        """Write one transaction of a tick; return None if more of its transactions follow."""
        try:
            (result,) = self._write([decision.commits[number]])
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            return CommitOutcome(ticker, decision, committed=False)
        except Exception as error:
            logger.exception("store refused a tick; recording a failed one", extra=ticker.labels)
            return self._write_refusal(ticker, error)
        if not result.committed:
            return CommitOutcome(ticker, decision, committed=False, stale=True)
        is_last = number + 1 == len(decision.commits)
        return CommitOutcome(ticker, decision, committed=True) if is_last else None

    def _write_refusal(self, ticker: Ticker, error: Exception) -> CommitOutcome:
        failure = ticker.refuse(error)
        try:
            (result,) = self._write(failure.commits)
        except Exception as second:  # noqa: BLE001 - the thread must go on, whatever it is
            logger.error(  # noqa: TRY400 - the first one's traceback is in the log already
                "store refused the record of a failed tick",
                extra={**ticker.labels, "error": describe(second, self._redact)},
            )
            return CommitOutcome(ticker, failure, committed=False)
        return CommitOutcome(ticker, failure, result.committed, stale=not result.committed)

    def _write(self, commits: Sequence[Commit]) -> Sequence[TickResult]:
        now = self._clock.now()
        with self._commits.measured(self._clock):
            results = self._store.ticks.commit(self._runner_id, commits, self._assets, now)
        self._outage.end()
        for result in results:
            if result.committed:
                _notify(self._on_result, result)
        return results


def _notify(listener: Callable[[T], None], what: T) -> None:
    """Call a listener after a commit; its failure must not end the thread that commits."""
    try:
        listener(what)
    except Exception:
        logger.exception("listener of committed ticks failed")
