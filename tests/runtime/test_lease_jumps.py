"""Runners whose leases end in the store at once: the clock was set, or the machine slept."""

from datetime import timedelta

import pytest

from tests.runtime.test_fair_shares import Town


@pytest.fixture
def town(house):
    return Town(house)


def test_runners_whose_clock_jumps_take_no_other_for_dead(town, caplog):
    for _ in range(3):
        town.join()
    town.pass_time(3)
    before = town.owners()
    assert town.shares() == [10, 10, 10]
    town.house.clock.set_now(town.house.clock.now() + timedelta(hours=1))
    for runner in town.runners:
        runner.reconcile()
    town.pass_time(15)
    assert town.moves(before) == 0
    assert "runner died" not in caplog.text


def test_runner_that_stepped_down_claims_nothing(town):
    runner = town.join()
    runner.heartbeat.start()
    town.kill(runner)
    other = town.join()
    town.house.store.runners.stop(runner.heartbeat.runner.id, town.house.clock.now())
    town.house.clock.advance(29)
    assert not runner.heartbeat.lease.held
    runner.reconcile()
    assert town.owned(runner) == set()
    assert town.owned(other) == set()
