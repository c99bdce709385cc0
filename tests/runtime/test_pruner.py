"""Pruner: every hour, on request, through store outages and clock jumps."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from flowstone_core import Flowstone, Pipeline, Triggered
from flowstone_core.errors import StoreUnavailableError, ValidationError
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import Event
from flowstone_core.model.tick import NewEvent, TickCommit, TickOutcome
from flowstone_core.runtime.pruner import FIRST_SECONDS, PERIOD_SECONDS, Pruner
from flowstone_core.store import Pruned, Store, pruning
from flowstone_core.testing import Script, ScriptedSensor
from tests.processes import until

ASSETS = AssetGraph([Asset("orders", lambda context: None)])
DAY = timedelta(days=1)


class Desk:
    """A store with a sensor that fires, and a pruner that is tried on it."""

    def __init__(self, store, clock):
        self.store, self.clock, self.owner = store, clock, "one"
        now = clock.now()
        store.runners.register(
            RunnerInfo("one", "host", 7, "machine", "0.1", now, now + timedelta(days=10_000))
        )
        store.sensors.declare(["feed"], now)
        self.checkpoint = store.sensors.claim("one", ["feed"], now)["feed"]
        self.pruner = None

    def fire(self, *keys):
        """Fire for keys; return those that were new."""
        now, before = self.clock.now(), self.checkpoint
        self.checkpoint = replace(before, version=before.version + 1, polled=True)
        events = tuple(NewEvent(key, "orders", key) for key in keys)
        commit = TickCommit(
            "feed", TickOutcome.TRIGGERED, now, now, before, self.checkpoint, events
        )
        (result,) = self.store.ticks.commit(self.owner, [commit], ASSETS, now)
        assert result.committed
        return [event.key for event in result.events]

    def cancel_all(self):
        """Have all that was asked for end without success, so that it needs not be kept."""
        for item in self.store.materializations.latest():
            self.store.materializations.cancel(item.id, ASSETS, self.clock.now())

    def hire(self, dedupe_for=DAY, retention=None, store=None):
        self.pruner = Pruner(store or self.store, self.clock, {"feed": dedupe_for}, retention)
        return self.pruner


@pytest.fixture
def desk(store, fake_clock):
    desk = Desk(store, fake_clock)
    yield desk
    if desk.pruner is not None:
        desk.pruner.stop()


def sleep_until(clock, period):
    """Let time pass in which the pruner's thread is to sleep."""
    clock.wait_for_sleepers(1)
    clock.advance(period - 1)
    clock.wait_for_sleepers(1)


# -- by itself -------------------------------------------------------------------------------------


def test_pruner_runs_after_a_minute_and_then_hourly(desk, fake_clock):
    desk.fire("a")
    fake_clock.advance(2 * DAY)
    desk.hire(dedupe_for=DAY).start()
    for period in (FIRST_SECONDS, PERIOD_SECONDS, PERIOD_SECONDS):
        sleep_until(fake_clock, period)
        assert desk.fire("a") == []
        fake_clock.advance(1)
        fake_clock.wait_for_sleepers(1)
        assert desk.fire("a") == ["a"]
        # Of this one the time has come the next time, not before.
        desk.pruner._dedupe_for["feed"] = timedelta(seconds=1)


def test_pruner_without_retention_deletes_no_history(desk, fake_clock):
    desk.fire("a")
    desk.cancel_all()
    fake_clock.advance(4_000 * DAY)
    pruner = desk.hire()
    pruner.prune_periodically()
    assert len(desk.store.events.latest()) == 1
    assert desk.fire("a") == ["a"]


def test_prune_with_retention_deletes_old_history_and_logs_it(desk, fake_clock, caplog):
    caplog.set_level("INFO")
    desk.fire("a")
    desk.cancel_all()
    fake_clock.advance(40 * DAY)
    desk.fire("b")
    desk.hire(retention=30 * DAY).prune_periodically()
    assert [event.key for event in desk.store.events.latest()] == ["b"]
    (record,) = caplog.records
    assert record.message == "old history pruned"
    assert (record.events, record.materializations, record.ticks, record.keys) == (1, 1, 1, 1)
    desk.pruner.prune_periodically()
    assert len(caplog.records) == 1


def test_prune_dedupe_for_beyond_retention_keeps_the_keys(desk, fake_clock):
    desk.fire("a")
    desk.cancel_all()
    fake_clock.advance(40 * DAY)
    desk.hire(dedupe_for=90 * DAY, retention=30 * DAY).prune_periodically()
    assert desk.fire("a") == []
    fake_clock.advance(60 * DAY)
    desk.hire(dedupe_for=90 * DAY, retention=30 * DAY).prune_periodically()
    assert desk.store.events.latest() == []
    assert desk.fire("a") == ["a"]


def test_prune_undeclared_sensor_keeps_keys_for_the_default_time(desk, fake_clock):
    desk.fire("a")
    desk.cancel_all()
    pruner = Pruner(desk.store, fake_clock, {}, None)
    fake_clock.advance(89 * DAY)
    assert pruner.prune(DAY) == Pruned(kept_events=1)
    fake_clock.advance(2 * DAY)
    assert pruner.prune(DAY).events == 1


class StoreOutage:
    """A store that cannot be used for as long as it is on."""

    def __init__(self, store):
        self.store, self.runners, self.on = store, store.runners, True

    def pruning(self, clock, *, dry_run):
        if self.on:
            raise StoreUnavailableError("database is locked")
        return self.store.pruning(clock, dry_run=dry_run)


def test_pruner_outage_is_logged_once_and_its_end(desk, fake_clock, caplog):
    desk.fire("a")
    outage = StoreOutage(desk.store)
    fake_clock.advance(2 * DAY)
    pruner = desk.hire(store=outage)
    for outage.on in (True, True, True, False, False):
        pruner.prune_periodically()
    messages = [record.message for record in caplog.records]
    assert messages == [
        "cannot prune old history; trying again every hour",
        "pruning of old history resumed",
    ]
    assert desk.fire("a") == ["a"]


@pytest.mark.parametrize("jump", [DAY * 3_650, -DAY, timedelta(hours=2)])
def test_T2_prune_waits_an_hour_after_a_clock_jump(desk, fake_clock, jump, caplog):
    desk.fire("a")
    fake_clock.advance(2 * DAY)
    desk.fire("b")
    pruner = desk.hire(dedupe_for=DAY)
    right = fake_clock.now()
    fake_clock.set_now(right + jump)
    pruner.prune_periodically()
    assert "wall clock jumped" in caplog.text
    # Mended within the hour: nothing was forgotten but what is old.
    fake_clock.set_now(right)
    pruner.prune_periodically()
    fake_clock.advance(PERIOD_SECONDS)
    pruner.prune_periodically()
    assert desk.fire("a", "b") == ["a"]


def test_prune_trusts_a_clock_that_stays_after_a_jump(desk, fake_clock):
    desk.fire("a")
    pruner = desk.hire(dedupe_for=DAY)
    fake_clock.set_now(fake_clock.now() + 2 * DAY)
    pruner.prune_periodically()
    assert desk.fire("a") == []
    fake_clock.advance(PERIOD_SECONDS)
    pruner.prune_periodically()
    assert desk.fire("a") == ["a"]


# -- a clock that is far ahead ---------------------------------------------------------------------


def register(desk, name, days):
    """Have a runner run for some days from now, and let them pass."""
    now = desk.clock.now()
    desk.clock.advance(days * DAY)
    desk.store.runners.register(
        RunnerInfo(name, "host", 7, "machine", "0.1", now, now + days * DAY, desk.clock.now())
    )


@pytest.fixture
def used(desk):
    """A store that a runner has used for fifty days; two keys are old, and three are not."""
    desk.store.runners.stop("one", desk.clock.now())
    desk.checkpoint = desk.store.sensors.claim("two", ["feed"], desk.clock.now())["feed"]
    desk.owner = "two"
    register(desk, "two", 10)
    desk.fire("old")
    desk.fire("older")
    register(desk, "two", 40)
    desk.fire("a", "b", "c")
    desk.cancel_all()
    return desk


@pytest.mark.parametrize("ahead", [10, 100, 800])
def test_S8_a_clock_far_ahead_forgets_and_deletes_nothing(used, fake_clock, ahead, caplog):
    fake_clock.advance(ahead * DAY)
    for _ in range(3):  # restarted again and again
        used.hire(dedupe_for=30 * DAY, retention=60 * DAY).prune_periodically()
        register(used, f"wrong-{fake_clock.now()}", 0.01)
    assert len(used.store.events.latest()) == 5
    # What was too old by the right clock is forgotten as ever.
    assert used.fire("old", "older", "a", "b", "c") == ["old", "older"]
    (told,) = [each for each in caplog.records if "or the clock is wrong" in each.message][:1]
    assert "--trust-clock" in told.hint
    assert told.since < told.until


def test_S8_a_gap_is_told_once_while_the_clock_is_adjusted(used, fake_clock, caplog):
    fake_clock.advance(100 * DAY)
    pruner = used.hire(dedupe_for=30 * DAY)
    for _ in range(3):
        pruner.prune_periodically()
        fake_clock.advance(PERIOD_SECONDS)
        fake_clock.set_now(fake_clock.now() - timedelta(milliseconds=20))
    assert caplog.text.count("or the clock is wrong") == 1


def test_S8_a_clock_far_ahead_by_hand_deletes_nothing_unless_trusted(used, fake_clock):
    fake_clock.advance(800 * DAY)
    pruner = used.hire(dedupe_for=400 * DAY)
    assert pruner.prune(60 * DAY, dry_run=True).events == 0
    assert pruner.prune(60 * DAY).events == 0
    assert pruner.prune(60 * DAY, dry_run=True, trust_clock=True).events == 5
    assert pruner.prune(60 * DAY, trust_clock=True).events == 5


def test_S8_an_idle_store_ages_again_when_a_runner_runs(used, fake_clock):
    fake_clock.advance(100 * DAY)
    pruner = used.hire(dedupe_for=30 * DAY, retention=60 * DAY)
    pruner.prune_periodically()
    assert used.fire("a") == []
    fake_clock.advance(31 * DAY)
    pruner.prune_periodically()
    assert used.fire("a") == ["a"]


def test_S8_a_jump_while_it_runs_is_not_counted_either(used, fake_clock):
    runner_id = "two"
    pruner = Pruner(used.store, fake_clock, {"feed": 30 * DAY}, None, runner_id)
    fake_clock.set_now(fake_clock.now() + 100 * DAY)
    used.store.runners.register(
        RunnerInfo(
            runner_id, "host", 7, "machine", "0.1", fake_clock.now() - 150 * DAY, fake_clock.now()
        )
    )
    for _ in range(3):
        pruner.prune_periodically()
        fake_clock.advance(PERIOD_SECONDS)
    assert used.fire("a", "b", "c") == []


class Interrupted:
    """Stops the pruner while it is in the midst of its work."""

    def __init__(self, store):
        self.store, self.runners, self.pruner, self.steps = store, store.runners, None, 0

    def pruning(self, clock, *, dry_run):
        self.clock = clock
        return self

    def forget(self, source, before):
        for step in self.store.pruning(self.clock).forget(source, before):
            self.steps += 1
            self.pruner.stop()
            yield step


def test_pruner_stopped_while_pruning_ends_after_the_batch(desk, fake_clock, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 2)
    desk.fire(*(f"k{number}" for number in range(10)))
    fake_clock.advance(2 * DAY)
    store = Interrupted(desk.store)
    pruner = store.pruner = desk.hire(store=store)
    pruner.start()
    fake_clock.wait_for_sleepers(1)
    fake_clock.advance(FIRST_SECONDS)
    until(lambda: not pruner.alive)
    assert store.steps == 1
    # The next one finishes.
    assert desk.hire().prune(DAY, dry_run=True).keys == 8
    desk.pruner.prune_periodically()
    assert len(desk.fire(*(f"k{number}" for number in range(10)))) == 10


def test_pruner_stopped_while_waiting_ends_at_once(desk, fake_clock):
    pruner = desk.hire()
    pruner.start()
    fake_clock.wait_for_sleepers(1)
    assert pruner.alive
    pruner.stop()
    until(lambda: not pruner.alive)


def test_pruner_never_started_can_be_stopped(desk):
    pruner = desk.hire()
    pruner.stop()
    assert not pruner.alive


class Slow(Pruner):
    """Notes how long it rests after each batch."""

    def rests(self, clock, steps):
        found = []

        def batches():
            for seconds in steps:
                clock.advance(seconds)
                yield Pruned(events=1)

        class Loop:
            stopping = False

            def wait(self, seconds):
                found.append(seconds)

        self._loop = Loop()
        self._delete(batches())
        return found


def test_pruner_rests_after_each_batch_for_its_duration(desk, fake_clock):
    assert Slow(desk.store, fake_clock, {}, None).rests(fake_clock, [0.5, 0, 2]) == [0.5, 0, 2]


# -- by hand ---------------------------------------------------------------------------------------


def test_prune_without_an_age_is_refused_with_a_hint(desk):
    with pytest.raises(ValidationError, match=r"--older-than 90d, or set retention"):
        desk.hire().prune()


@pytest.mark.parametrize("age", [timedelta(minutes=59), timedelta(days=36_526), -DAY])
def test_prune_age_out_of_bounds_is_refused(desk, age):
    with pytest.raises(ValidationError, match=r"is out of bounds: use 1h to 36525d"):
        desk.hire(retention=DAY).prune(age)


def test_prune_without_an_age_uses_the_retention(desk, fake_clock):
    desk.fire("a")
    desk.cancel_all()
    fake_clock.advance(10 * DAY)
    pruner = desk.hire(retention=20 * DAY)
    assert pruner.prune(dry_run=True) == Pruned(keys=1)
    assert pruner.prune(5 * DAY, dry_run=True).events == 1
    assert pruner.prune(36_525 * DAY) == Pruned(keys=1)
    assert len(desk.store.events.latest()) == 1


# -- in a runner -----------------------------------------------------------------------------------


def make_flow(clock, url, script, **settings):
    pipeline = Pipeline("shop")

    @pipeline.asset
    def orders(context):
        return None

    pipeline.sensor(
        "feed", ScriptedSensor, asset="orders", every="10s", script=Script(script), **settings
    )
    return Flowstone(pipeline, store=url, clock=clock)


def test_supervisor_starts_and_stops_the_pruner(store_url, fake_clock):
    fired = [Triggered([Event("p", key="a")], 1)]
    with make_flow(fake_clock, store_url, fired, dedupe_for="1d") as flow:
        flow.run(once=True)
        fake_clock.advance(2 * DAY)
        runner = threading.Thread(target=flow.run)
        runner.start()
        store = Store.open(store_url)
        try:
            while remembered(store, fake_clock):
                assert runner.is_alive()
                fake_clock.wait_for_sleepers(3)
                fake_clock.advance(10)
        finally:
            flow.stop()
            runner.join(timeout=300)
            store.close()
        until(lambda: "flowstone-pruner" not in {each.name for each in threading.enumerate()})


def remembered(store, clock):
    (step,) = store.pruning(dry_run=True).forget("sensor:feed", clock.now() + DAY)
    return step.keys


def test_flowstone_prune_accepts_an_age_as_text(store_url, fake_clock):
    with make_flow(fake_clock, store_url, []) as flow:
        with pytest.raises(ValidationError, match="--older-than"):
            flow.prune()
        with pytest.raises(ValidationError, match="is not a duration"):
            flow.prune("90 days")
        flow.materialize("orders", "p")
        flow.materializations.cancel(1)
        fake_clock.advance(91 * DAY)
        would = flow.prune("90d", dry_run=True)
        assert (would.events, would.materializations) == (1, 1)
        assert len(flow.materializations.latest()) == 1
        assert flow.prune(90 * DAY) == would
        assert flow.materializations.latest() == []
