"""Backfill: materializes a range of one asset's partitions, a few at a time, each at most once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from flowstone_core.errors import ValidationError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.chunking import chunks
from flowstone_core.model.clock import Clock
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.partition import encode_partition
from flowstone_core.model.partition_range import PartitionRange
from flowstone_core.store import BackfillRecord, BackfillRepository, PartitionState

MOST_UNFINISHED = 1_000
"""The largest limit of a backfill."""

SEEN_EVERY = timedelta(seconds=30)
"""How often a process notes that it works on a backfill."""

FAILURES_KEPT = 20
"""Most failed materializations that a progress names."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """Request for a backfill: an asset and a range of partitions.

    Attributes:
        limit: Most unfinished materializations of the backfill at a time, so that new events
            never wait behind more of them.

    Raises:
        ValidationError: If the limit is out of range.
    """

    asset: str
    span: PartitionRange
    force: bool = False
    limit: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST_UNFINISHED:
            raise ValidationError(
                f"invalid limit {self.limit}: must be from 1 to {MOST_UNFINISHED:,}"
            )

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Asset, first and last partition, and step; with ``force`` it identifies a backfill."""
        span = self.span
        return self.asset, encode_partition(span.first), encode_partition(span.last), span.every

    def texts(self) -> Iterator[str]:
        """Yield the texts of the partitions, in order."""
        return map(encode_partition, self.span)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a backfill; each of its partitions counts once.

    Attributes:
        backfill: The number of the backfill.
        resumed: True if the backfill was begun before and continues.
        total: Number of partitions.
        completed: Partitions materialized, by the backfill or by others that it waited for.
        skipped: Partitions that were completed already, and not asked for.
        failed: Partitions whose materializations ended otherwise.
        unfinished: Partitions that are asked for or waited for.
        left: Partitions that are not asked for yet.
        finished: True if all materializations have ended.
        cancelled: True if it was cancelled: it asks for no more.
        failures: The first materializations that failed.
        here: True if this process runs the materializations, because there is no runner.
    """

    backfill: int
    resumed: bool
    total: int
    completed: int = 0
    skipped: int = 0
    failed: int = 0
    unfinished: int = 0
    left: int = 0
    finished: bool = False
    cancelled: bool = False
    failures: tuple[int, ...] = ()
    here: bool = False

    @property
    def done(self) -> int:
        """Number of partitions that are completed, skipped or failed."""
        return self.completed + self.skipped + self.failed


class Backfill:
    """State machine of a backfill: asks for materializations step by step; engines run them.

    The backfill keeps its position in the range and what it waits for; the store keeps what it
    asked for. So an interrupted backfill continues, and several processes may run the same one.

    Args:
        request: The asset, which is in ``assets``, and the range of partitions.
        store: The repository of backfills.
        clock: Gives the times of its begin and end.
        assets: All assets.
    """

    def __init__(
        self, request: BackfillRequest, store: BackfillRepository, clock: Clock, assets: AssetGraph
    ) -> None:
        self._request = request
        self._store = store
        self._clock = clock
        self._assets = assets
        self._record: BackfillRecord | None = None
        self._resumed = False
        self._unread = chunks(request.texts())
        self._chunk: list[str] = []
        self._missing: deque[str] = deque()
        self._own: set[int] = set()
        self._others: set[int] = set()
        self._completed = self._skipped = self._failed = 0
        self._failures: list[int] = []
        self._finished = self._cancelled = False
        self._seen_at: datetime | None = None

    def step(self, *, may_ask: Callable[[], bool] = lambda: True) -> Progress:
        """Count what has ended, ask for more up to the limit, and finish if nothing is left.

        It may be called again after any error.

        Args:
            may_ask: Returns False once no more materializations may be asked for; called before
                each transaction that asks for some.

        Returns:
            The progress.

        Raises:
            StoreError: If the store cannot be used.
        """
        record = self._begun()
        self._look(record)
        self._count_ended(self._own)
        self._count_ended(self._others)
        while self._room > 0 and not self._cancelled and may_ask():
            if self._missing:
                self._ask(record)
            elif not self._read(record):
                break
        progress = self._progress(record)
        ended = self._cancelled or not progress.left
        if ended and not progress.unfinished and not self._finished:
            self._store.finish(record.id, self._clock.now())
            self._finished = True
        return replace(progress, finished=self._finished)

    def leave(self) -> None:
        """Note that this process works on it no longer.

        Raises:
            StoreError: If the store cannot be used.
        """
        if self._record is not None and not self._finished:
            self._store.leave(self._record.id)
            self._seen_at = None

    @property
    def _room(self) -> int:
        return self._request.limit - len(self._own)

    def _begun(self) -> BackfillRecord:
        if self._record is None:
            request, now = self._request, self._clock.now()
            self._record, self._resumed = self._store.begin(
                *request.identity, force=request.force, now=now
            )
        return self._record

    def _look(self, record: BackfillRecord) -> None:
        """Note that this process works on it, and whether it was cancelled."""
        now = self._clock.now()
        if self._seen_at is None or now - self._seen_at >= SEEN_EVERY:
            self._store.see(record.id, len(self._request.span), now)
            self._seen_at = now
        if not self._cancelled and self._store.get(record.id).cancelled_at is not None:
            self._cancelled = True
            self._others.clear()

    def _count_ended(self, waiting: set[int]) -> None:
        """Count the materializations that have ended."""
        for chunk in chunks(sorted(waiting)):
            states = self._store.states(chunk)
            ended = {number: state for number, state in states.items() if state.ended}
            waiting.difference_update(ended)
            for number, state in ended.items():
                self._count(number, state)
            if not ended:
                # All must end: while none of these has, the others need not be queried.
                return

    def _read(self, record: BackfillRecord) -> bool:
        """Read the states of the next partitions of the range; return False at its end."""
        # Kept until its states are read: the store may be unavailable now.
        self._chunk = self._chunk or next(self._unread, [])
        if not self._chunk:
            return False
        found = self._store.partition_states(
            record.asset, self._chunk, force=record.force, backfill=record
        )
        self._chunk = []
        for partition, standing in found.items():
            if standing.missing:
                self._missing.append(partition)
            else:
                self._settle(standing)
        return True

    def _ask(self, record: BackfillRecord) -> None:
        partitions = list(islice(self._missing, self._room))
        found = self._store.request(record, partitions, self._assets, self._clock.now())
        for standing in found.values():
            if standing.missing:  # cancelled a moment ago, which the next step sees
                self._cancelled = True
                return
            self._missing.popleft()
            self._settle(standing)

    def _settle(self, standing: PartitionState) -> None:
        """Count a partition that needs not be asked for."""
        if standing.requested_id is not None and standing.state is not None:
            if not standing.state.ended:
                self._own.add(standing.requested_id)
            elif standing.completed:
                # Perhaps by another materialization, after its own had failed.
                self._completed += 1
            else:
                self._count(standing.requested_id, standing.state)
        elif standing.active is None or standing.completed:
            self._skipped += 1
        else:
            self._others.add(standing.active)

    def _count(self, number: int, state: MaterializationState) -> None:
        if state is MaterializationState.COMPLETED:
            self._completed += 1
            return
        if self._cancelled and state is MaterializationState.CANCELLED:
            return  # with its backfill: left, not failed
        self._failed += 1
        if len(self._failures) < FAILURES_KEPT:
            self._failures.append(number)

    def _progress(self, record: BackfillRecord) -> Progress:
        unfinished = len(self._own) + len(self._others)
        total = len(self._request.span)
        return Progress(
            backfill=record.id,
            resumed=self._resumed,
            total=total,
            completed=self._completed,
            skipped=self._skipped,
            failed=self._failed,
            unfinished=unfinished,
            left=total - self._completed - self._skipped - self._failed - unfinished,
            cancelled=self._cancelled,
            failures=tuple(self._failures),
        )
