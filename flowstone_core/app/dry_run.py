"""Dry runs of sensors: one poll, or a connection check, with nothing committed.

Each call is held to its sensor's deadline.
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
"""Sensors that are called at once."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """Result of a tick that was not committed.

    Attributes:
        decision: The decision on the poll, with the events that a tick would commit.
        before: The text of the state before the poll; None for the initial state.
        after: The text of the state that would be stored; None if none would.
        duration: The duration of the poll.
    """

    decision: Decision[TickCommit]
    before: str | None
    after: str | None
    duration: timedelta


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """Result of connecting a sensor to its external source.

    Attributes:
        sensor: The name of the sensor.
        error: The reason of a failure; None after a success.
        duration: The duration of the check.
    """

    sensor: str
    error: str | None
    duration: timedelta


def poll_once(ticker: SensorTicker, clock: Clock) -> DryRun:
    """Poll a sensor once from the checkpoint of its ticker, and clean it up.

    Blocks until the poll returns or its deadline passes.
    """
    before = ticker.checkpoint.state
    call = _Poll(ticker)
    duration = _run_all([call], clock)[0]
    commits = call.decision.commits
    # A quiet tick commits nothing: the state is the one that is stored.
    after = commits[-1].after.state if commits else before
    return DryRun(call.decision, before, after, duration)


def check_connections(tickers: Iterable[SensorTicker], clock: Clock) -> list[ConnectionCheck]:
    """Connect sensors to their external sources, several at once, and clean them up.

    Blocks until each call returns or its deadline passes.

    Returns:
        One result for each ticker, in their order.
    """
    calls = [_Connect(ticker) for ticker in tickers]
    durations = _run_all(calls, clock)
    return [
        ConnectionCheck(call.ticker.name, call.error, duration)
        for call, duration in zip(calls, durations, strict=True)
    ]


class _DryCall(Call):
    """One call of a sensor's code; ends once, by returning or by its deadline."""

    __slots__ = ("_over", "ticker")

    def __init__(self, ticker: SensorTicker) -> None:
        super().__init__(ticker.deadline)
        self.ticker = ticker
        self._over: Callable[[Call], None] = _ignore

    def watch(self, over: Callable[[Call], None]) -> None:
        """Register the function to call at the end."""
        self._over = over

    def run(self) -> None:
        """Call the sensor, and clean it up."""
        self.attempt()
        self.ticker.cleanup()
        self._over(self)

    def expired(self) -> None:
        """Abandon the call."""
        self.give_up()
        self.ticker.stop()
        self._over(self)

    @abstractmethod
    def attempt(self) -> None:
        """Call the sensor."""

    @abstractmethod
    def give_up(self) -> None:
        """Record that the deadline has passed."""


class _Poll(_DryCall):
    __slots__ = ("_turn", "decision")

    decision: Decision[TickCommit]

    def __init__(self, ticker: SensorTicker) -> None:
        super().__init__(ticker)
        turn = ticker.begin()
        assert turn is not None  # noqa: S101 - nothing else uses the ticker
        self._turn = turn

    def attempt(self) -> None:
        self._keep(self.ticker.tick(self._turn))

    def give_up(self) -> None:
        self._keep(self.ticker.expire(self._turn))

    def _keep(self, decision: Decision[TickCommit] | None) -> None:
        if decision is not None:
            self.decision = decision


class _Connect(_DryCall):
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
        call = "cleanup" if self._answered else "connect"
        self.error = f"{call} did not return within the sensor's deadline of {self.deadline:g} s"


def _run_all(calls: Sequence[_DryCall], clock: Clock) -> list[timedelta]:
    """Run the calls in threads and return their durations."""
    waker: Waker = clock.waker()
    ended: dict[Call, float] = {}

    def over(call: Call) -> None:
        ended.setdefault(call, clock.monotonic())
        waker.set()

    pool = ThreadPool("flowstone-dry-run", clock, THREADS)
    for call in calls:
        call.watch(over)
        pool.submit(call)
    while len(ended) < len(calls):
        waker.wait(pool.expire())
    pool.close()
    return [timedelta(seconds=ended[call] - call.started) for call in calls]


def _ignore(_: Call) -> None:
    """Do nothing: no function was registered."""
