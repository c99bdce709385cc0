"""The engine contract: what carries materializations from committed to done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.clock import Clock
from flowstone_core.model.materialization import Claim, Materialization


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """A runner as the store knows it.

    Attributes:
        id: Unique for each start of each process.
        machine: Where it runs, so that another process on the same machine can tell whether it
            still lives; opaque.
        lease_until: It must be heard of before this moment, or its work is taken over.
        stopped_at: When it stopped in good order; None while it runs, or if it was killed.
        stuck_threads: How many of its threads are left behind in calls that do not come back.
    """

    id: str
    host: str
    pid: int
    machine: str
    version: str
    started_at: datetime
    lease_until: datetime
    stopped_at: datetime | None = None
    stuck_threads: int = 0


@dataclass(frozen=True, slots=True)
class ClaimRound:
    """What one look at the queue brought.

    Attributes:
        claims: Attempts that the caller must now run and finish.
        changed: Materializations that moved without being claimed: made ahead for one that
            depends on them, or discarded because one they depend on was.
        next_at: When the next one that waits for its time is due, or the time of the look if more
            may be due already; None if there is none.
    """

    claims: tuple[Claim, ...] = ()
    changed: tuple[Materialization, ...] = ()
    next_at: datetime | None = None


class MaterializationQueue(Protocol):
    """What an engine needs of the store. Every method is one transaction, from any thread."""

    def claim(self, runner_id: str, limit: int, assets: AssetGraph, now: datetime) -> ClaimRound:
        """Claim up to ``limit`` materializations that may start, oldest first.

        One that depends on assets whose same partition was never completed is held back, and
        those are asked for first; one whose dependency was discarded on its behalf is discarded.
        Of one (asset, partition) at most one runs at a time. Those of assets that are not in
        ``assets`` are left alone.
        """
        ...

    def finish(
        self, claim: Claim, end: AttemptResult, assets: AssetGraph, now: datetime
    ) -> Sequence[Materialization]:
        """End an attempt; on completion make its followers due in the same transaction.

        Returns:
            All materializations that changed, the finished one first.

        Raises:
            StaleAttemptError: If the claim's token is not current any more; nothing is written.
        """
        ...

    def release(self, claims: Collection[Claim], now: datetime) -> None:
        """Give back attempts that this process will not end; they count as no attempt."""
        ...

    def recover(
        self, now: datetime, runner_id: str | None = None, held: Collection[str] = ()
    ) -> Sequence[Materialization]:
        """Take back what runners held that are not heard of any more; return what changed.

        Args:
            now: When.
            worker: Who asks. What it holds by other tokens than ``held`` is taken back too, and
                counts as no attempt: it was claimed, but the answer did not arrive.
            held: The tokens of all attempts that ``worker`` knows it holds.
        """
        ...

    def look_again(self, assets: AssetGraph, now: datetime) -> None:
        """Have all that is held back looked at again.

        An engine calls it once when it begins: what one was held back for may be no dependency
        any more, and then nothing else would let it go.
        """
        ...

    def stale_tokens(self, tokens: Collection[str]) -> set[str]:
        """Return those of the tokens that are not current any more."""
        ...

    def unfinished(self, assets: AssetGraph, before: datetime | None = None) -> int:
        """Count materializations that have not ended.

        Args:
            assets: Only theirs.
            before: Leave out those whose next attempt is due only after this moment.
        """
        ...


@dataclass(frozen=True)
class EngineSetup:
    """What an engine is made with.

    Attributes:
        queue: The store's side.
        assets: All assets.
        worker: The id of the runner that this process is.
        threads: How many materializations may run at once.
        announce: To be called, outside any transaction, with each materialization that changed.
        redact: Hides secrets in error texts.
    """

    queue: MaterializationQueue
    assets: AssetGraph
    clock: Clock
    runner_id: str
    threads: int = 8
    announce: Callable[[Materialization], None] = field(default=lambda _: None)
    redact: Callable[[str], str] = str


class Engine(ABC):
    """The base class of engines.

    Args:
        setup: What it works with.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self.setup = setup

    @property
    def stuck(self) -> int:
        """How many threads are left behind in asset functions that do not come back."""
        return 0

    @abstractmethod
    def start(self) -> None:
        """Begin to carry materializations; returns at once."""

    @abstractmethod
    def wake(self) -> None:
        """Say that something was committed and may be due; any thread, returns at once."""

    @abstractmethod
    def drain(self, timeout: timedelta | None = None) -> bool:
        """Wait until nothing runs and nothing is due; what waits for a later time is left.

        Returns:
            False if the timeout passed first.
        """

    @abstractmethod
    def stop(self, grace: timedelta) -> bool:
        """Start nothing more, wait up to ``grace`` for what runs, give back the rest.

        Returns:
            Whether everything that ran has ended.
        """
