"""Staleness monitor: stale sensors are reported once, and when they are fresh again."""

from __future__ import annotations

import threading
from copy import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from flowstone_core import (
    Event,
    NotTriggered,
    Pipeline,
    PollFailed,
    RetryLater,
    Sensor,
    SensorBroken,
    SensorConfig,
    Triggered,
    hookimpl,
)
from flowstone_core.app.status import SensorHealth, sensor_status
from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.redaction import Redactor
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import Runner

PATIENCE = timedelta(seconds=300)


class Told:
    """Observers that keep what they are told."""

    def __init__(self):
        self.stale = []

    def dispatch(self, hook, **given):
        if hook == "flowstone_sensor_stale":
            self.stale.append((given["sensor"], given["since"]))


class House:
    """One sensor that does as a test says, and the runner that polls it."""

    def __init__(self, store, clock, **options):
        self.store, self.clock, self.polls = store, clock, 0
        self.does = NotTriggered
        self.pipeline = Pipeline("house")
        self.pipeline.asset(name="orders")(lambda context: None)
        house = self

        class Feed(Sensor[SensorConfig, int]):
            def init(self):
                return 0

            def poll(self, state):
                house.polls += 1
                return house.does(state)

        settings = {"every": "10s", "backoff": "1s", "backoff_limit": "5s", "quarantine_after": 99}
        self.pipeline.sensor("feed", Feed, asset="orders", **settings | options)
        self.told = Told()
        self.heartbeat = Heartbeat(store, clock, timedelta(days=1))
        store.runners.register(self.heartbeat.runner)
        self.runner = self.make(store)

    def make(self, store):
        return Runner(
            replace(self.heartbeat.session, store=store),
            Workload(self.pipeline.assets, self.pipeline.sensors),
            publisher=Publisher(self.told),
            redact=Redactor(),
            wake_engine=lambda: None,
        )

    def pass_time(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)
            self.runner.step()
            assert self.runner.settle(PATIENCE)
            self.runner.reconcile()

    def pass_time_unsettled(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)
            self.runner.step()

    @property
    def status(self):
        return sensor_status("feed", self.pipeline.sensors["feed"], self.store.sensors.get("feed"))


class Failing:
    """A store that cannot mark a sensor as stale."""

    def __init__(self, store, error):
        self._store, self._error = store, error
        self.sensors = copy(store.sensors)
        self.sensors.mark_stale = self._fail

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _fail(self, *_):
        raise self._error


@pytest.fixture
def house(store, fake_clock):
    house = House(store, fake_clock)
    house.runner.open()
    yield house
    house.runner.stop(timedelta(0))


def fails(state):
    return PollFailed("no luck", state)


def later(state):
    raise RetryLater(1)


@pytest.mark.parametrize("poor", [fails, later])
def test_sensor_without_good_poll_for_three_intervals_is_stale(house, poor):
    house.pass_time(20)
    since = house.clock.now()
    good = house.polls
    assert good
    house.does = poor
    house.pass_time(15)
    assert house.told.stale == []
    assert house.status.health is not SensorHealth.STALE
    house.pass_time(30)
    ((name, told),) = house.told.stale
    assert name == "feed"
    assert since - timedelta(seconds=10) <= told <= since
    assert house.store.sensors.get("feed").stale_since == told
    assert (house.status.health, house.status.stale_since) == (SensorHealth.STALE, told)
    house.does = NotTriggered
    house.pass_time(10)
    assert house.store.sensors.get("feed").stale_since is None
    assert house.status.health is SensorHealth.OK
    house.does = poor
    house.pass_time(60)
    assert len(house.told.stale) == 2


def test_staleness_of_a_hanging_sensor_is_reported(store, fake_clock):
    house = House(store, fake_clock, deadline="5s", stale_after="20s")
    begun, go = threading.Event(), threading.Event()

    def hangs(state):
        begun.set()
        go.wait()
        return NotTriggered(state)

    house.does = hangs
    house.runner.open()
    house.clock.advance(10)
    house.runner.step()
    assert begun.wait(PATIENCE.seconds)
    house.pass_time_unsettled(5)
    house.pass_time(30)
    assert [name for name, _ in house.told.stale] == ["feed"]
    assert house.polls == 1
    go.set()
    house.runner.stop(timedelta(0))


def test_staleness_good_polls_of_a_slow_source_are_fresh(house):
    house.pass_time(200)
    assert house.told.stale == []
    assert len(house.store.ticks.latest()) == 1  # the first, which kept the first state


def test_staleness_ignores_broken_and_paused_sensors(house):
    def broken(state):
        raise SensorBroken("gone")

    house.does = broken
    house.pass_time(60)
    assert house.told.stale == []
    assert house.status.health is SensorHealth.BROKEN


def test_staleness_ends_with_a_reset(house):
    house.does = fails
    house.pass_time(60)
    house.store.sensors.reset("feed", forget_keys=False)
    assert house.store.sensors.get("feed").stale_since is None


def test_staleness_is_reported_by_the_owner_only(house):
    house.does = fails
    house.pass_time(20)
    house.store.runners.register(Heartbeat(house.store, house.clock, PATIENCE).runner)
    house.store.sensors.pause("feed")
    house.pass_time(60)
    assert house.told.stale == []


def test_staleness_during_an_outage_is_reported_after_it(house):
    house.runner = house.make(Failing(house.store, StoreUnavailableError("away")))
    house.runner.open()
    house.does = fails
    house.pass_time(60)
    assert house.told.stale == []
    house.runner._staleness._store = house.store
    house.heartbeat.beat()
    house.pass_time(20)
    assert len(house.told.stale) == 1


def test_staleness_refused_mark_is_logged_once_without_outage(house, caplog):
    house.runner = house.make(Failing(house.store, StoreError("permission denied")))
    house.runner.open()
    house.does = fails
    house.pass_time(60)
    assert (house.told.stale, house.heartbeat.outage.on) == ([], False)
    assert caplog.text.count("cannot mark a sensor as stale") == 1


def test_staleness_ends_with_an_event(house):
    house.does = fails
    house.pass_time(60)
    house.does = lambda state: Triggered(Event("p"), state + 1) if not state else NotTriggered(1)
    house.pass_time(10)
    assert house.store.sensors.get("feed").stale_since is None


def test_staleness_hook_has_sensor_and_since():
    @hookimpl
    def flowstone_sensor_stale(sensor, since):
        """As a plugin writes it."""

    from flowstone_core.plugin.hookspecs import flowstone_sensor_stale as spec

    assert spec.__annotations__.keys() == {"sensor", "since", "return"}
