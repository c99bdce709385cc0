"""Schedules from one runner to the next, store outages, and the threads of a runner."""

from __future__ import annotations

import threading
from copy import copy
from datetime import timedelta

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.tick import SkipReason, TickOutcome
from flowstone_core.runtime.runner import STORE_RETRY_SECONDS
from tests.runtime.schedule_desk import (
    PATIENCE,
    Desk,
    at,
)

# -- from one runner to the next -------------------------------------------------------------------


def test_T5_instants_missed_without_a_runner_are_caught_up(desk):
    desk.schedule(catchup="all", overlap="allow")
    runner = desk.opened()
    runner.stop(PATIENCE)
    desk.clock.advance(timedelta(hours=3))
    desk.store.runners.stop(runner._assignments["schedule"]._runner_id, desk.clock.now())
    desk.opened()
    assert desk.fired() == [at("13:00"), at("14:00"), at("15:00")]


def test_T9_changed_declaration_replays_nothing_and_records_skips(desk):
    desk.schedule(catchup="all")
    first = desk.opened()
    desk.store.runners.stop(first._assignments["schedule"]._runner_id, desk.clock.now())
    desk.clock.advance(timedelta(hours=3))
    changed = Desk(desk.store, desk.clock)
    desk.clock.set_now(at("15:30"))
    changed.schedule(cron="45 * * * *", catchup="all")
    second = changed.opened()
    desk.dispatcher += changed.dispatcher
    assert changed.fired() == []
    assert changed.skipped() == [(SkipReason.EDITED, "13:00", "15:00", 3)]
    changed.until(second, at("15:45"), step=timedelta(minutes=15))
    assert changed.fired() == [at("15:45")]


def test_two_runners_fire_an_instant_once(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    one, two = desk.opened(), desk.opened()
    for _ in range(5):
        desk.clock.advance(60)
        desk.look(one)
        desk.look(two)
    assert len(desk.fired()) == len(set(desk.fired())) == 5


def test_schedules_of_a_dead_runner_are_taken_over(desk):
    desk.schedule()
    dead = desk.opened()
    living = desk.opened()
    owner = dead._assignments["schedule"]._runner_id
    assert desk.store.schedules.get("report").owner == owner
    desk.store.runners.beat(owner, desk.clock.now(), timedelta(0))
    for _ in range(12):
        desk.clock.advance(1)
        desk.look(living)
    desk.until(living, at("13:00"), step=timedelta(minutes=10))
    assert desk.store.schedules.get("report").owner != owner
    assert desk.fired() == [at("13:00")]


class Flaky:
    """A store that is away for as long as a test says so."""

    def __init__(self, store):
        self._store = store
        self.away = False
        self.ticks, self.materializations = copy(store.ticks), copy(store.materializations)
        self.ticks.commit = self._unless_away(store.ticks.commit)
        self.materializations.active = self._unless_away(store.materializations.active)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _unless_away(self, method):
        def call(*arguments, **options):
            if self.away:
                raise StoreUnavailableError("the store is away")
            return method(*arguments, **options)

        return call


def test_schedule_tick_lost_in_an_outage_is_repeated(desk):
    desk.schedule()
    flaky = Flaky(desk.store)
    runner = desk.runner(flaky)
    runner.open()
    desk.look(runner)
    flaky.away = True
    retried = at("13:00") + timedelta(seconds=STORE_RETRY_SECONDS)
    desk.until(runner, retried, step=timedelta(minutes=1))
    assert desk.fired() == []
    flaky.away = False
    runner.heartbeat.beat()
    desk.until(runner, desk.clock.now() + timedelta(seconds=40), step=timedelta(seconds=1))
    assert desk.fired() == [at("13:00")]
    assert desk.skipped() == []


def test_run_once_fires_for_what_is_due(desk):
    desk.schedule()
    runner = desk.runner()
    runner.run_once()
    assert desk.fired() == []
    desk.store.runners.stop(runner._assignments["schedule"]._runner_id, desk.clock.now())
    desk.clock.advance(timedelta(hours=1))
    again = desk.runner()
    again.run_once()
    assert desk.fired() == [at("13:00")]


# -- the threads -----------------------------------------------------------------------------------


class Stumbling(Flaky):
    """A store that cannot be looked at for a while, for one reason and then for another."""

    def __init__(self, store):
        super().__init__(store)
        self.looks = 0
        self.looked = threading.Event()

    def survey(self, *arguments):
        self.looks += 1
        if self.looks in {2, 3}:
            raise StoreUnavailableError("away")
        if self.looks == 4:
            raise RuntimeError("a fault of ours")
        if self.looks in {9, 10}:
            raise StoreError("permission denied")
        if self.looks > 11:
            self.looked.set()
        return self._store.survey(*arguments)


def test_reconciler_failures_are_logged_once_and_survived(desk, caplog):
    stumbling = Stumbling(desk.store)
    runner = desk.runner(stumbling)
    runner.start()
    while not stumbling.looked.is_set():
        desk.clock.wait_for_sleepers(2)
        desk.clock.advance(1)
    assert runner.stop(PATIENCE)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert messages == [
        "store unavailable; polling paused until a write succeeds",
        "periodic step failed; the next step follows",
        "cannot read sensor and schedule ownership from the store; trying again every second",
    ]


def test_runner_in_threads_fires_on_time(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.runner()
    runner.start()
    instants = [at("12:31"), at("12:32"), at("12:33")]
    for count, instant in enumerate(instants, start=1):
        desk.clock.wait_for_sleepers(2)
        desk.clock.advance(instant - desk.clock.now())
        while len(desk.fired()) < count:
            assert "flowstone-scheduler" in {thread.name for thread in threading.enumerate()}
    assert runner.stop(PATIENCE)
    assert desk.fired() == instants
    assert {tick.skipped for tick in desk.store.ticks.latest()} == {0}


def test_schedule_that_cannot_be_built_skips_uncounted(desk, caplog):
    given = {"asset": "report", "trigger": "gone", "text": "x"}
    desk.store.schedules.create("odd", given, desk.clock.now())
    desk.clock.advance(timedelta(hours=3))
    desk.schedules.update("odd", cron="* * * * *")
    assert desk.store.skips.latest() == []
    assert "cannot count skipped instants" in caplog.text


def test_schedule_tick_refused_by_the_store_has_failed(desk, monkeypatch):
    desk.schedule(overlap="allow")
    runner = desk.runner()
    runner.open()
    desk.look(runner)
    commit = runner._committer._store.ticks.commit
    refused = []

    def refuse(owner, commits, assets, now):
        if not refused or len(refused) < 2:
            refused.append(commits)
            raise ValueError("the store has its reasons")
        return commit(owner, commits, assets, now)

    monkeypatch.setattr(desk.store.ticks, "commit", refuse)
    desk.sleep_until(at("13:00"))
    desk.look(runner)
    (tick,) = desk.store.ticks.latest()
    assert (tick.outcome, tick.events) == (TickOutcome.FAILED, 0)
    assert "the store has its reasons" in tick.error
    desk.until(runner, at("13:10"))
    assert desk.fired() == [at("13:00")]
