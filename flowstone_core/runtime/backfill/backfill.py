"""Backfills: a span of one asset's partitions, asked for a few at a time, each at most once."""

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
"""Materializations that could not be made, in a progress."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What a backfill is to make.

    Attributes:
        limit: Most of its materializations that are unfinished at once: what is new never waits
            behind more.

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
                f"the limit of a backfill is from 1 to {MOST_UNFINISHED:,}, not {self.limit}"
            )

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What, beside ``force``, makes it the same backfill as another one."""
        span = self.span
        return self.asset, encode_partition(span.first), encode_partition(span.last), span.every


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is; each of its partitions counts once.

    Attributes:
        backfill: Its number.
        resumed: Whether it had begun before and goes on here.
        total: Its partitions.
        completed: Made, by it or by what it waited for.
        skipped: Completed already, and not asked for.
        failed: Ended otherwise.
        unfinished: Asked for or waited for.
        left: Not asked for yet.
        finished: Whether all have ended.
        failures: The materializations that failed, the first of them.
        here: Whether this process makes them, because no runner is there.
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
        """How many are completed, skipped or failed."""
        return self.completed + self.skipped + self.failed


class PartitionAction(StrEnum):
    """What a backfill does with a partition."""

    MAKE = "make"
    """It asks for it."""
    WAIT = "wait"
    """It waits for what is on its way already."""
    SKIP = "skip"
    """It is completed, or this backfill asked for it before and it has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill would do.

    Attributes:
        resumes: The number of the unfinished backfill that it would go on with.
        moves: What it would do with each partition, by their texts, in the order of the span.
    """

    resumes: int | None
    moves: dict[str, PartitionAction]

    def count(self, move: PartitionAction) -> int:
        """Return with how many partitions it would do this."""
        return sum(each is move for each in self.moves.values())


def plan(order: BackfillRequest, store: BackfillRepository) -> Plan:
    """Say what a backfill would do now; nothing is written.

    Raises:
        StoreError: If the store cannot be used.
    """
    record = store.unfinished(*order.identity, force=order.force)
    moves: dict[str, PartitionAction] = {}
    for chunk in chunks(_texts(order)):
        found = store.standings(order.asset, chunk, force=order.force, backfill=record)
        moves |= {text: _move(standing) for text, standing in found.items()}
    return Plan(None if record is None else record.id, moves)


class Backfill:
    """Carries out an order, step by step; whoever makes the materializations does so elsewhere.

    It keeps where it is in the span and what it waits for; the store keeps what it asked for. So
    one that was interrupted goes on where it was, and several processes may carry the same one.

    Args:
        order: What to make; its asset is in ``assets``.
        store: Where it is remembered.
        clock: Says when it began and ended.
        assets: All assets.
    """

    def __init__(
        self, order: BackfillRequest, store: BackfillRepository, clock: Clock, assets: AssetGraph
    ) -> None:
        self._order = order
        self._store = store
        self._clock = clock
        self._assets = assets
        self._record: BackfillRecord | None = None
        self._resumed = False
        self._unread = chunks(_texts(order))
        self._chunk: list[str] = []
        self._missing: deque[str] = deque()
        self._own: set[int] = set()
        self._others: set[int] = set()
        self._completed = self._skipped = self._failed = 0
        self._failures: list[int] = []
        self._finished = False

    def step(self, *, ask: bool = True) -> Progress:
        """See what has ended, ask for what may be asked for, and finish if that was all.

        It may be called again after whatever it raises.

        Args:
            ask: Whether to ask for more.

        Raises:
            StoreError: If the store cannot be used.
        """
        record = self._begun()
        self._look(self._own)
        self._look(self._others)
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
        return self._order.limit - len(self._own)

    def _begun(self) -> BackfillRecord:
        if self._record is None:
            order, now = self._order, self._clock.now()
            self._record, self._resumed = self._store.begin(
                *order.identity, force=order.force, now=now
            )
        return self._record

    def _look(self, waiting: set[int]) -> None:
        """Count those that have ended."""
        for chunk in chunks(sorted(waiting)):
            states = self._store.states(chunk)
            ended = {number: state for number, state in states.items() if state.ended}
            waiting.difference_update(ended)
            for number, state in ended.items():
                self._count(number, state)
            if not ended:
                # All have to end: while none of these has, a look at the others can wait.
                return

    def _read(self, record: BackfillRecord) -> bool:
        """Look how the next partitions of the span stand; False at its end."""
        # Kept until it is read: the store may not be there at the moment.
        self._chunk = self._chunk or next(self._unread, [])
        if not self._chunk:
            return False
        found = self._store.standings(
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
        found = self._store.ask(record, partitions, self._assets, self._clock.now())
        for standing in found.values():
            self._missing.popleft()
            self._settle(standing)

    def _settle(self, standing: PartitionState) -> None:
        """Count a partition that needs not be asked for any more."""
        if standing.asked is not None and standing.state is not None:
            if not standing.state.ended:
                self._own.add(standing.asked)
            elif standing.completed:
                # Perhaps by another one: after its own had failed, say.
                self._completed += 1
            else:
                self._count(standing.asked, standing.state)
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
        total = len(self._order.span)
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


def _texts(order: BackfillRequest) -> Iterator[str]:
    return map(encode_partition, order.span)


def _move(standing: PartitionState) -> PartitionAction:
    if standing.missing:
        return PartitionAction.MAKE
    state = standing.state
    if state is None:
        return PartitionAction.SKIP if standing.completed else PartitionAction.WAIT
    return PartitionAction.SKIP if state.ended else PartitionAction.WAIT
