"""Group commit: ticks that finish together are written in one transaction."""

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
from flowstone_core.model.clock import Clock
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.ticking.ticker import AnyDecision, Ticker
from flowstone_core.store import Commit, Store, TickResult

T = TypeVar("T")

logger = logging.getLogger("flowstone.committer")

GROUP_LIMIT = 100
"""Most ticks in one transaction: past it a larger one gains little and holds others up."""


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What became of a decision.

    Attributes:
        committed: Whether all its transactions were made.
        stale: Whether the sensor or schedule is no longer this runner's, or was changed meanwhile.
    """

    ticker: Ticker
    decision: AnyDecision
    committed: bool
    stale: bool = False


class Committer:
    """A thread that writes decisions to the store and tells what became of each.

    Args:
        owner: The runner's id, by which the store knows what is its own.
        outage: Told when the store cannot be used, and when it was.
        on_result: Called with each transaction's results, after the commit.
        on_verdict: Called once for each decision, last.
    """

    def __init__(
        self,
        store: Store,
        owner: str,
        assets: AssetGraph,
        clock: Clock,
        redact: Redactor,
        outage: StoreOutage,
        on_result: Callable[[TickResult], None],
        on_verdict: Callable[[CommitOutcome], None],
    ) -> None:
        self._store = store
        self._owner = owner
        self._assets = assets
        self._clock = clock
        self._redact = redact
        self._outage = outage
        self._on_result = on_result
        self._on_verdict = on_verdict
        self._queue: queue.SimpleQueue[tuple[Ticker, AnyDecision] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flowstone-commit", daemon=True)

    def start(self) -> None:
        """Begin; call it once."""
        self._thread.start()

    def put(self, ticker: Ticker, decision: AnyDecision) -> None:
        """Have a decision written; any thread, returns at once."""
        self._queue.put((ticker, decision))

    def close(self, timeout: float) -> None:
        """Write what is waiting, then end; wait at most ``timeout`` seconds of real time."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        # Of a tick with many transactions one is written between those of others, so that what
        # finds a million events at once holds up nobody.
        large: deque[tuple[Ticker, AnyDecision, int]] = deque()
        ending = False
        while not ending or large:
            group, ending = ([], True) if ending else self._take(wait=not large)
            singles = [item for item in group if len(item[1].commits) == 1]
            for verdict in self._write_group(singles):
                _tell(self._on_verdict, verdict)
            large += ((*item, 0) for item in group if len(item[1].commits) > 1)
            if large:
                ticker, decision, number = large.popleft()
                ended = self._write_alone(ticker, decision, number)
                if ended is None:
                    large.append((ticker, decision, number + 1))
                else:
                    _tell(self._on_verdict, ended)

    def _take(self, *, wait: bool) -> tuple[list[tuple[Ticker, AnyDecision]], bool]:
        """Take what waits, at most a group; say whether it is the last."""
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
            # One tick's data must not take the others down with it: each gets its own
            # transaction, and only the one that the store refuses again is a failed tick.
            logger.debug("group commit refused, writing each tick alone", exc_info=True)
            for ticker, decision in group:
                verdict = self._write_alone(ticker, decision, 0)
                if verdict is not None:
                    yield verdict
            return
        for (ticker, decision), result in zip(group, results, strict=True):
            yield CommitOutcome(ticker, decision, result.committed, stale=not result.committed)

    def _write_alone(
        self, ticker: Ticker, decision: AnyDecision, number: int
    ) -> CommitOutcome | None:
        """Write one transaction of a tick; None if there are more of it to come."""
        try:
            (result,) = self._write([decision.commits[number]])
        except (StoreUnavailableError, StoreLostError) as error:
            self._outage.begin(error)
            return CommitOutcome(ticker, decision, committed=False)
        except Exception as error:
            logger.exception("the store refused a tick", extra=ticker.labels)
            return self._write_refusal(ticker, error)
        if not result.committed:
            return CommitOutcome(ticker, decision, committed=False, stale=True)
        is_last = number + 1 == len(decision.commits)
        return CommitOutcome(ticker, decision, committed=True) if is_last else None

    def _write_refusal(self, ticker: Ticker, error: Exception) -> CommitOutcome:
        failure = ticker.refuse(error)
        try:
            (result,) = self._write(failure.commits)
        except Exception as second:  # noqa: BLE001 - whatever it is, the thread must go on
            logger.error(  # noqa: TRY400 - the first one's traceback is in the log already
                "the store refused the record of a failed tick too",
                extra={**ticker.labels, "error": describe(second, self._redact)},
            )
            return CommitOutcome(ticker, failure, committed=False)
        return CommitOutcome(ticker, failure, result.committed, stale=not result.committed)

    def _write(self, commits: Sequence[Commit]) -> Sequence[TickResult]:
        results = self._store.ticks.commit(self._owner, commits, self._assets, self._clock.now())
        self._outage.end()
        for result in results:
            if result.committed:
                _tell(self._on_result, result)
        return results


def _tell(listener: Callable[[T], None], what: T) -> None:
    """Tell of what is committed; whoever cannot hear it must not end the thread that commits."""
    try:
        listener(what)
    except Exception:
        logger.exception("what is committed could not be told on")
