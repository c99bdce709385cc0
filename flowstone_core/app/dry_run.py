"""Sensors tried by hand: polled once, or asked whether they reach their source.

Nothing is committed, and each try is held to its sensor's deadline.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from flowstone_core.model.clock import Clock, Waker
from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import TickCommit
from flowstone_core.runtime.isolation.thread_pool import Call, ThreadPool
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

THREADS = 8
"""Sensors that are tried at once."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a tick of a sensor would amount to now.

    Attributes:
        before: The text of the state that it began from; None if it began with `Sensor.init`.
        after: The text of the state that would be stored; None if none would.
        duration: How long it took.
    """

    decision: Decision[TickCommit]
    before: str | None
    after: str | None
    duration: timedelta


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """Whether a sensor reaches its source.

    Attributes:
        error: Why it does not; None if it does.
        duration: How long it took to say so.
    """

    sensor: str
    error: str | None
    duration: timedelta


def poll_once(ticker: SensorTicker, clock: Clock) -> DryRun:
    """Poll a sensor once, from what its ticker remembers; then have it clean up.

    Blocks until the poll has come back or its deadline is over.
    """
    before = ticker.checkpoint.state
    trial = _Poll(ticker)
    duration = _carry([trial], clock)[0]
    commits = trial.decision.commits
    # A quiet tick commits nothing: the state is the one that is stored.
    after = commits[-1].after.state if commits else before
    return DryRun(trial.decision, before, after, duration)


def check_connections(tickers: Iterable[SensorTicker], clock: Clock) -> list[ConnectionCheck]:
    """Ask sensors whether they reach their sources, several at once; then have them clean up.

    Blocks until each has answered or its deadline is over.

    Returns:
        One answer for each ticker, in their order.
    """
    trials = [_Connect(ticker) for ticker in tickers]
    durations = _carry(trials, clock)
    return [
        ConnectionCheck(trial.ticker.name, trial.error, duration)
        for trial, duration in zip(trials, durations, strict=True)
    ]


class _Trial(Call):
    """One call of a sensor's code; whether it comes back or not, it is over once."""

    __slots__ = ("_over", "ticker")

    def __init__(self, ticker: SensorTicker) -> None:
        super().__init__(ticker.deadline)
        self.ticker = ticker
        self._over: Callable[[Call], None] = _ignore

    def watch(self, over: Callable[[Call], None]) -> None:
        """Have ``over`` called when it is over."""
        self._over = over

    def run(self) -> None:
        """Make the call, and have the sensor clean up."""
        self.attempt()
        self.ticker.cleanup()
        self._over(self)

    def expired(self) -> None:
        """Wait for it no longer."""
        self.give_up()
        self.ticker.stop()
        self._over(self)

    @abstractmethod
    def attempt(self) -> None:
        """Make the call."""

    @abstractmethod
    def give_up(self) -> None:
        """Take note that it has not come back."""


class _Poll(_Trial):
    __slots__ = ("_turn", "decision")

    decision: Decision[TickCommit]

    def __init__(self, ticker: SensorTicker) -> None:
        super().__init__(ticker)
        turn = ticker.begin()
        assert turn is not None  # noqa: S101 - the ticker is nobody else's
        self._turn = turn

    def attempt(self) -> None:
        self._keep(self.ticker.tick(self._turn))

    def give_up(self) -> None:
        self._keep(self.ticker.expire(self._turn))

    def _keep(self, decision: Decision[TickCommit] | None) -> None:
        if decision is not None:
            self.decision = decision


class _Connect(_Trial):
    __slots__ = ("_answered", "error")

    def __init__(self, ticker: SensorTicker) -> None:
        super().__init__(ticker)
        self.error: str | None = None
        self._answered = False

    def attempt(self) -> None:
        error = self.ticker.connect()
        if not self.abandoned:
            self.error, self._answered = error, True

    def give_up(self) -> None:
        what = "cleanup did" if self._answered else "it did"
        self.error = f"{what} not come back within the sensor's deadline of {self.deadline:g} s"


def _carry(trials: Sequence[_Trial], clock: Clock) -> list[timedelta]:
    """Make the calls, and return how long each took."""
    waker: Waker = clock.waker()
    ended: dict[Call, float] = {}

    def over(trial: Call) -> None:
        ended.setdefault(trial, clock.monotonic())
        waker.set()

    pool = ThreadPool("flowstone-trial", clock, THREADS)
    for trial in trials:
        trial.watch(over)
        pool.submit(trial)
    while len(ended) < len(trials):
        waker.wait(pool.expire())
    pool.close()
    return [timedelta(seconds=ended[trial] - trial.started) for trial in trials]


def _ignore(_: Call) -> None:
    """Nobody watches."""
