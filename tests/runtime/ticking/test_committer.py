"""Committer: group commit; a tick with many transactions delays no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor_decision import Decision
from flowstone_core.model.tick import NewEvent, SensorCheckpoint, TickCommit, TickOutcome
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.lease import Lease
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.runtime.ticking.committer import CommitOutcome, Committer
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.store import Store, TickResult
from flowstone_core.testing import FakeClock, ScriptedSensor

PATIENCE = 300
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)
ASSETS = AssetGraph([Asset("orders", lambda context: None)])
NAMES = ("large", "larger", "small")


class Desk:
    """A committer, what it told, and what a test does after so many events."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        heartbeat = self.heartbeat = Heartbeat(store, clock, timedelta(hours=1))
        store.runners.register(heartbeat.runner)
        store.sensors.declare(NAMES, clock.now())
        store.sensors.claim(heartbeat.runner.id, NAMES, clock.now())
        self.tickers = {}
        for name in NAMES:
            declaration, _ = declare_sensor(name, ScriptedSensor, {}, assets=ASSETS, asset="orders")
            assert declaration is not None
            self.tickers[name] = SensorTicker(declaration, ASSETS, clock, Redactor())
        self.written: list[str] = []
        self.outcomes: list[CommitOutcome] = []
        self.after: dict[int, Callable[[], object]] = {}
        self.committer = Committer(
            heartbeat.session, ASSETS, Redactor(), self._on_result, self._on_outcome
        )

    def put(self, name: str, transactions: int) -> None:
        before = SensorCheckpoint()
        after = SensorCheckpoint(1, "1", polled=True)
        commits = tuple(
            TickCommit(
                name,
                TickOutcome.TRIGGERED,
                NOON,
                NOON,
                before,
                after if number == transactions else before,
                (NewEvent(f"{name}-{number}", "orders", "p"),),
            )
            for number in range(1, transactions + 1)
        )
        self.committer.put(self.tickers[name], Decision(TickOutcome.TRIGGERED, commits))

    def _on_result(self, result: TickResult) -> None:
        self.written += (event.key for event in result.events)
        self.after.pop(len(self.written), lambda: None)()

    def _on_outcome(self, outcome: CommitOutcome) -> None:
        self.outcomes.append(outcome)

    def run(self) -> None:
        self.committer.start()
        self.committer.close(PATIENCE)


@pytest.fixture
def desk(store: Store, fake_clock: FakeClock) -> Desk:
    return Desk(store, fake_clock)


def test_P6_tick_of_many_transactions_delays_no_other(desk: Desk) -> None:
    desk.put("large", 4)
    desk.put("larger", 5)
    desk.after[3] = lambda: desk.put("small", 1)
    waiting = threading.Event()
    desk.committer.start()
    for _ in range(PATIENCE * 100):
        if len(desk.outcomes) == 3:
            break
        waiting.wait(0.01)
    desk.committer.close(PATIENCE)
    assert desk.written == [
        "large-1",
        "larger-1",
        "large-2",
        "small-1",
        "larger-2",
        "large-3",
        "larger-3",
        "large-4",
        "larger-4",
        "larger-5",
    ]
    told = [(outcome.ticker.name, outcome.committed) for outcome in desk.outcomes]
    assert told == [("small", True), ("large", True), ("larger", True)]


def test_committer_close_writes_what_was_begun(desk: Desk) -> None:
    desk.put("large", 3)
    desk.run()
    assert desk.written == ["large-1", "large-2", "large-3"]
    assert [outcome.committed for outcome in desk.outcomes] == [True]


def test_committer_refused_transaction_ends_its_tick(desk: Desk) -> None:
    desk.put("large", 3)
    desk.put("larger", 2)
    desk.after[1] = lambda: desk.store.sensors.reset("large")
    desk.run()
    assert desk.written == ["large-1", "larger-1", "larger-2"]
    told = [(each.ticker.name, each.committed, each.stale) for each in desk.outcomes]
    assert told == [("large", False, True), ("larger", True, False)]


def test_S4_commit_is_measured_while_it_lasts(
    desk: Desk, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = desk.heartbeat.session.commits
    commit, measured = desk.store.ticks.commit, []

    def slow(*arguments: object) -> object:
        fake_clock.advance(20)
        measured.append(commits.seconds(fake_clock))
        return commit(*arguments)

    monkeypatch.setattr(desk.store.ticks, "commit", slow)
    desk.put("small", 1)
    desk.run()
    assert measured == [20]
    assert commits.seconds(fake_clock) == 0


def test_committer_survives_listeners_that_raise(store, fake_clock, caplog):
    heard, both = [], threading.Semaphore(0)

    def on_result(result):
        raise RuntimeError("the listener has a bug")

    def on_outcome(outcome):
        heard.append(outcome.committed)
        both.release()
        raise RuntimeError("this one as well")

    store.sensors.declare(["feed"], NOON)
    (checkpoint,) = store.sensors.claim("one", ["feed"], NOON).values()
    lease = Lease(timedelta(hours=1), fake_clock)
    committer = Committer(
        RunnerSession(store, "one", fake_clock, StoreOutage(), lease),
        ASSETS,
        Redactor(),
        on_result,
        on_outcome,
    )
    committer.start()
    for version in (1, 2):
        after = SensorCheckpoint(version=version, state="1", polled=True)
        outcome = TickOutcome.NOT_TRIGGERED
        commit = TickCommit("feed", outcome, NOON, NOON, checkpoint, after, (), None)
        committer.put(None, Decision(outcome, (commit,)))
        assert both.acquire(timeout=PATIENCE)
        checkpoint = after
    committer.close(PATIENCE)
    assert heard == [True, True]
    assert store.sensors.get("feed").checkpoint.version == 2
    assert caplog.text.count("listener of committed ticks failed") == 4
