"""Backfill: materializes a range of one asset's partitions, a few at a time, each at most once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
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
    failures: tuple[int, ...] = ()
    here: bool = False

    @property
    def done(self) -> int:
        """Number of partitions that are completed, skipped or failed."""
        return self.completed + self.skipped + self.failed


class PartitionAction(StrEnum):
    """Action of a backfill for a partition."""

    MATERIALIZE = "materialize"
    """Ask for its materialization."""
    WAIT = "wait"
    """Wait for its unfinished materialization."""
    SKIP = "skip"
    """Do nothing: it is completed, or this backfill asked for it before and it has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a backfill.

    Attributes:
        resumes: The number of the unfinished backfill that it would continue; None if there is
            none.
        actions: The action for each partition, by its text, in the order of the range.
    """

    resumes: int | None
    actions: dict[str, PartitionAction]

    def count(self, action: PartitionAction) -> int:
        """Return the number of partitions with an action."""
        return sum(each is action for each in self.actions.values())


def plan(request: BackfillRequest, store: BackfillRepository) -> Plan:
    """Return the plan of a backfill as of now; nothing is written.

    Raises:
        StoreError: If the store cannot be used.
    """
    record = store.unfinished(*request.identity, force=request.force)
    actions: dict[str, PartitionAction] = {}
    for chunk in chunks(_texts(request)):
        found = store.partition_states(request.asset, chunk, force=request.force, backfill=record)
        actions |= {text: _action(standing) for text, standing in found.items()}
    return Plan(None if record is None else record.id, actions)


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
        self._unread = chunks(_texts(request))
        self._chunk: list[str] = []
        self._missing: deque[str] = deque()
        self._own: set[int] = set()
        self._others: set[int] = set()
        self._completed = self._skipped = self._failed = 0
        self._failures: list[int] = []
        self._finished = False

    def step(self, *, ask: bool = True) -> Progress:
        """Count what has ended, ask for more up to the limit, and finish if nothing is left.

        It may be called again after any error.

        Args:
            ask: False to ask for no more materializations.

        Returns:
            The progress.

        Raises:
            StoreError: If the store cannot be used.
        """
        record = self._begun()
        self._count_ended(self._own)
        self._count_ended(self._others)
        while ask and self._room > 0:
            if self._missing:
                self._ask(record)
            elif not self._read(record):
                break
        progress = self._progress(record)
        if not progress.left and not progress.unfinished and not self._finished:
            self._store.finish(record.id, self._clock.now())
            self._finished = True
        return replace(progress, finished=self._finished)

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
            failures=tuple(self._failures),
        )


def _texts(request: BackfillRequest) -> Iterator[str]:
    return map(encode_partition, request.span)


def _action(standing: PartitionState) -> PartitionAction:
    if standing.missing:
        return PartitionAction.MATERIALIZE
    state = standing.state
    if state is None:
        return PartitionAction.SKIP if standing.completed else PartitionAction.WAIT
    return PartitionAction.SKIP if state.ended else PartitionAction.WAIT
