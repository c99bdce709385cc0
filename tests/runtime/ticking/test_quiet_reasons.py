"""Quiet reasons: recorded when they change, at most once a minute, and never for each poll."""

from __future__ import annotations

import logging
from copy import copy
from datetime import timedelta
from itertools import count

import pytest

from flowstone_core import NotTriggered, PollFailed, Triggered
from flowstone_core.errors import StoreError, StoreUnavailableError
from tests.runtime.ticking.test_staleness import House


@pytest.fixture
def house(store, fake_clock):
    house = House(store, fake_clock, every="1s")
    house.records = []
    sensors = copy(store.sensors)
    sensors.record_quiet = lambda owner, reasons, now: (
        house.records.append(reasons),
        store.sensors.record_quiet(owner, reasons, now),
    )
    house.runner = house.make(Watched(store, sensors))
    house.runner.open()
    yield house
    house.runner.stop(timedelta(0))


class Watched:
    """A store with other sensors."""

    def __init__(self, store, sensors):
        self._store, self.sensors = store, sensors

    def __getattr__(self, name):
        return getattr(self._store, name)


def reason_of(house):
    return house.store.sensors.get("feed").quiet_reason


def test_N6_reason_that_stays_the_same_is_recorded_once(house):
    house.pass_time(10)
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(200)
    assert house.polls > 150
    assert house.records == [{"feed": "still written"}]
    assert len(house.store.ticks.latest()) == 1
    record = house.store.sensors.get("feed")
    assert (record.quiet_reason, record.checkpoint.version) == ("still written", 1)
    assert record.quiet_since is not None


def test_N6_reason_that_changes_at_each_poll_is_recorded_once_a_minute(house):
    numbers = count()
    house.does = lambda state: NotTriggered(state, reason=f"{next(numbers)} s old")
    house.pass_time(200)
    assert 2 <= len(house.records) <= 4
    assert len(house.store.ticks.latest()) == 1


def test_N6_reason_that_ends_is_taken_back(house):
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(10)
    assert reason_of(house) == "still written"
    house.does = NotTriggered
    house.pass_time(100)
    assert reason_of(house) is None


def test_N6_reason_of_an_earlier_runner_is_not_kept(house):
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(10)
    house.store.runners.stop(house.store.sensors.get("feed").owner, house.clock.now())
    house.store.sensors.claim("two", ["feed"], house.clock.now())
    record = house.store.sensors.get("feed")
    assert (record.owner, record.quiet_reason, record.quiet_since) == ("two", None, None)


def test_N6_reason_of_a_sensor_that_is_claimed_again_is_recorded(house):
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(10)
    house.store.sensors.reset("feed")
    assert reason_of(house) is None
    house.pass_time(10)
    assert reason_of(house) == "still written"


@pytest.mark.parametrize("ends", [lambda state: Triggered("a", state), PollFailed])
def test_N6_committed_tick_takes_back_the_reason_of_quiet_ones(house, ends):
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(10)
    house.does = ends if ends is not PollFailed else lambda state: PollFailed("no luck", state)
    house.pass_time(3)
    assert reason_of(house) is None


def test_N6_reason_of_a_sensor_that_was_paused_is_not_recorded(house):
    house.pass_time(10)
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.clock.advance(1)
    house.runner.step()
    house.runner.settle()
    house.store.sensors.pause("feed")
    house.pass_time(3)
    assert reason_of(house) is None


def test_N6_quiet_poll_is_logged_at_debug_with_its_reason(house, caplog):
    house.pass_time(10)
    caplog.set_level(logging.DEBUG, "flowstone.ticker")
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(2)
    lines = [record for record in caplog.records if record.getMessage() == "quiet tick"]
    assert {(line.sensor, line.reason, line.levelname) for line in lines} == {
        ("feed", "still written", "DEBUG")
    }


def test_N6_reason_that_an_outage_kept_back_is_recorded_after_it(store, fake_clock):
    house = House(store, fake_clock, every="1s")
    sensors = copy(store.sensors)
    house.runner = house.make(Watched(store, sensors))
    house.runner.open()
    house.pass_time(10)
    own = sensors.record_quiet

    def down(*_):
        sensors.record_quiet = own
        raise StoreUnavailableError("down")

    sensors.record_quiet = down
    house.does = lambda state: NotTriggered(state, reason="still written")
    house.pass_time(5)
    assert reason_of(house) is None
    house.heartbeat.session.outage.end()
    house.pass_time(5)
    assert reason_of(house) == "still written"
    house.runner.stop(timedelta(0))


@pytest.mark.parametrize("error", [StoreError("no"), StoreUnavailableError("down")])
def test_reason_that_the_store_refuses_stops_nothing(store, fake_clock, error):
    refused = []

    def refuse(*arguments):
        refused.append(arguments)
        raise error

    house = House(store, fake_clock, every="1s")
    sensors = copy(store.sensors)
    sensors.record_quiet = refuse
    house.runner = house.make(Watched(store, sensors))
    house.runner.open()
    house.pass_time(10)
    house.does = lambda state: NotTriggered(state, reason="still written")
    polls = house.polls
    house.pass_time(3)
    assert refused
    assert house.polls > polls
    house.runner.stop(timedelta(0))
