"""Engine contract: an engine runs each committed materialization to its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from flowstone_core.errors import StaleAttemptError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.clock import Clock
from flowstone_core.model.materialization import Claim, Materialization
from flowstone_core.model.role import Role


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """A runner as stored.

    Attributes:
        id: Unique for each start of each process.
        host: The machine's name.
        machine: Opaque identity of the machine; a process on the same machine can check whether
            the runner is alive.
        lease_until: End of the lease: the runner renews the lease before, or loses its work.
        stopped_at: When the runner stopped, or was taken for dead; None while it runs.
        stuck_threads: Number of threads left behind in calls that do not return.
        problem: What the runner fails to do, again and again; None if there is nothing.
        blocked: True if the runner can start nothing more, because every thread hangs.
        role: Whether the runner ticks, materializes, or both; a value of `Role`.
        engine: The name of its engine; None if it is not known.
        beat_at: The last renewal of the lease.
        clock_offset: Seconds by which the machine's clock is ahead of the store's; None if the
            store has no clock (SQLite).
        lock_key: The key of the session lock that the runner holds; None if it holds none, with
            SQLite or behind a pooler: only its lease tells then that it is dead.
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
    problem: str | None = None
    blocked: bool = False
    role: str = Role.ALL.value
    engine: str | None = None
    beat_at: datetime | None = None
    clock_offset: float | None = None
    lock_key: int | None = None

    @property
    def ticks(self) -> bool:
        """True if it ticks sensors and schedules."""
        return self.role != Role.WORKERS

    @property
    def materializes(self) -> bool:
        """True if it runs materializations."""
        return self.role != Role.SENSORS


@dataclass(frozen=True, slots=True)
class RunnerCondition:
    """Condition of a runner, which it stores with each renewal of its lease.

    Attributes:
        stuck_threads: See `RunnerInfo`.
        problem: See `RunnerInfo`.
        blocked: See `RunnerInfo`.
        clock_offset: See `RunnerInfo`.
    """

    stuck_threads: int = 0
    problem: str | None = None
    blocked: bool = False
    clock_offset: float | None = None


@dataclass(frozen=True, slots=True)
class ClaimRound:
    """Result of one `MaterializationQueue.claim`.

    Attributes:
        claims: Attempts that the caller must now run and finish.
        changed: Materializations that changed without being claimed: requested for one that
            depends on them, or discarded with one that they depend on.
        next_at: When the next delayed materialization is due, or the time of the claim if more may
            be due already; None if none is delayed.
    """

    claims: tuple[Claim, ...] = ()
    changed: tuple[Materialization, ...] = ()
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """End of an attempt: the claim and the result to commit for it."""

    claim: Claim
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class EndRound:
    """Result of one `MaterializationQueue.finish`.

    Attributes:
        changed: The materializations that changed: those whose attempts ended, in their order,
            then those that were requested because they follow a completed one.
        stale: The ends of which nothing was written, by token: another attempt was started, or
            the materialization was cancelled.
    """

    changed: tuple[Materialization, ...] = ()
    stale: Mapping[str, StaleAttemptError] = field(default_factory=dict)


class MaterializationQueue(Protocol):
    """Interface of the store for engines: each method is one transaction, from any thread."""

    def claim(
        self, runner_id: str, limit: int, assets: AssetGraph, now: datetime, ahead: int = 0
    ) -> ClaimRound:
        """Claim up to ``limit`` materializations that may start, oldest first.

        * At most one materialization of an (asset, partition) runs at a time.
        * A materialization whose dependencies lack the same partition is held back, and the
          missing partitions are requested first.
        * A materialization whose requested dependency was discarded is discarded.
        * Materializations of assets that are not in ``assets`` are not touched.
        * ``ahead`` more are claimed to start as soon as others end. One that was lost with its
          runner is not claimed ahead, nor one behind it: perhaps it kills its runners, and then
          those that wait for a thread of that runner are lost with it again and again.
        """
        ...

    def finish(self, ends: Sequence[AttemptEnd], assets: AssetGraph, now: datetime) -> EndRound:
        """Commit the results of attempts; a completed one makes its followers due, in one go.

        A stale end is left out and reported, and the others are committed. If the store refuses
        the data of one of them, it raises and nothing is written.
        """
        ...

    def release(self, claims: Collection[Claim], now: datetime) -> None:
        """Release attempts that this process will not finish; they use up no attempt."""
        ...

    def take_back(self, claims: Collection[Claim], now: datetime) -> None:
        """Undo claims whose attempts never began: nothing is left of these attempts."""
        ...

    def recover(
        self, now: datetime, runner_id: str | None = None, held: Collection[str] = ()
    ) -> Sequence[Materialization]:
        """Recover the attempts of runners whose lease has expired; return what changed.

        Args:
            now: The current time.
            runner_id: The calling runner. Its own attempts with tokens not in ``held`` are
                recovered too, and use up no attempt: the answer to their claim was lost.
            held: The tokens of all attempts that ``runner_id`` holds.
        """
        ...

    def requeue_waiting(self, assets: AssetGraph, now: datetime) -> None:
        """Make all waiting materializations candidates for a claim again.

        An engine calls this once when it starts: the dependency that a materialization waits for
        may have been removed, and then nothing else would requeue the materialization.
        """
        ...

    def stale_tokens(self, tokens: Collection[str]) -> set[str]:
        """Return the tokens that are no longer current."""
        ...

    def unfinished(self, assets: AssetGraph, before: datetime | None = None) -> int:
        """Count materializations that have not ended.

        Args:
            assets: Count only materializations of these.
            before: Leave out materializations whose next attempt is due after this time.
        """
        ...


@dataclass(frozen=True)
class EngineSetup:
    """Everything that the core passes to a new engine.

    Attributes:
        queue: The queue of materializations, in the store.
        assets: All assets.
        clock: The only source of time.
        runner_id: Id of the runner of this process.
        threads: Maximum number of materializations that run at once.
        publish: To be called, outside any transaction, with each materialization that changed.
        redact: Hides secrets in error texts.
        may_claim: Returns False while the runner must not claim or recover materializations: it
            could not renew its lease in time, or has only just renewed it again.
    """

    queue: MaterializationQueue
    assets: AssetGraph
    clock: Clock
    runner_id: str
    threads: int = 8
    publish: Callable[[Materialization], None] = field(default=lambda _: None)
    redact: Callable[[str], str] = str
    may_claim: Callable[[], bool] = field(default=lambda: True)


class Engine(ABC):
    """Base class of engines: an engine claims materializations and runs their attempts.

    Args:
        setup: Queue, assets, clock and limits.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self.setup = setup

    @property
    def stuck(self) -> int:
        """Number of threads left behind in asset functions that do not return."""
        return 0

    @property
    def problem(self) -> str | None:
        """What the engine fails to do, again and again, other than for an unavailable store."""
        return None

    @property
    def blocked(self) -> bool:
        """True if every thread hangs in a function that does not return: nothing more starts."""
        return False

    @abstractmethod
    def start(self) -> None:
        """Start to run materializations; return at once."""

    @abstractmethod
    def wake(self) -> None:
        """Check the queue now, because something was committed; any thread, returns at once."""

    @abstractmethod
    def drain(self, timeout: timedelta | None = None) -> bool:
        """Wait until nothing runs and nothing is due; delayed materializations are left.

        Returns:
            False if the timeout passed first.
        """

    @abstractmethod
    def stop(self, grace: timedelta) -> bool:
        """Start nothing more, wait up to ``grace`` for running attempts, release the others.

        Returns:
            True if all running attempts ended in time.
        """
