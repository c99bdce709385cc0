"""Several runners on one store: each owns its share, whatever comes and goes."""

from datetime import timedelta

import pytest

from flowstone_core.model.event import NotTriggered
from flowstone_core.runtime.coordination.assignment import OFFER_SECONDS, UNWANTED_SECONDS
from tests.runtime.runner_house import LEASE, PATIENCE, probe


class Town:
    """Many sensors in a house, and runners that look and tick together."""

    def __init__(self, house, count=30):
        self.house = house
        self.feeds = [house.sensor(f"feed-{number:02}", probe()) for number in range(count)]
        self.runners = []

    def join(self, **options):
        runner = self.house.runner(**options)
        runner.open()
        self.runners.append(runner)
        return runner

    def leave(self, runner):
        self.runners.remove(runner)
        runner.stop(timedelta(seconds=PATIENCE))
        runner.heartbeat.stop()

    def kill(self, runner):
        """Have it do nothing more; it never signs off."""
        self.runners.remove(runner)

    def pass_time(self, seconds):
        for _ in range(seconds):
            self.house.clock.advance(1)
            for runner in self.runners:
                runner.heartbeat.beat()
                runner.reconcile()
                runner.step()
                assert runner.settle(timedelta(seconds=PATIENCE))

    def owned(self, runner):
        return self.house.store.sensors.owned(runner.heartbeat.runner.id)

    def shares(self):
        return [len(self.owned(runner)) for runner in self.runners]

    def owners(self):
        return {record.name: record.owner for record in self.house.store.sensors.all()}

    def moves(self, before):
        return sum(before[name] != owner for name, owner in self.owners().items())


@pytest.fixture
def town(house):
    return Town(house)


def test_runner_that_joins_gets_its_share_by_needed_moves_only(town):
    town.join()
    assert town.shares() == [30]
    for shares, moves in (([15, 15], 15), ([10, 10, 10], 10)):
        before = town.owners()
        town.join()
        town.pass_time(3)
        assert town.shares() == shares
        assert town.moves(before) == moves
    before = town.owners()
    town.pass_time(10)
    assert town.moves(before) == 0


def test_share_of_a_runner_that_leaves_is_divided(town):
    for _ in range(3):
        town.join()
    town.pass_time(3)
    before = town.owners()
    town.leave(town.runners[1])
    town.pass_time(2)
    assert town.shares() == [15, 15]
    assert town.moves(before) == 10


def test_share_of_a_runner_that_died_is_divided_after_its_lease(town, caplog):
    for _ in range(3):
        town.join()
    town.pass_time(3)
    town.kill(town.runners[2])
    town.pass_time(int(LEASE.total_seconds()) - 2)
    assert town.shares() == [10, 10]
    town.pass_time(3)
    assert town.shares() == [15, 15]
    assert caplog.text.count("runner died; taking over its work") == 1


def test_runner_that_was_frozen_gives_up_at_once_and_gets_a_share_again(town, caplog):
    town.join()
    frozen = town.join()
    town.pass_time(3)
    town.kill(frozen)
    town.pass_time(int(LEASE.total_seconds()) + 2)
    assert town.shares() == [30]
    polls = sum(feed.polls for feed in town.feeds)
    frozen.step()  # before its heartbeat has found anything out
    assert frozen.settle(timedelta(seconds=PATIENCE))
    assert sum(feed.polls for feed in town.feeds) == polls
    town.runners.append(frozen)
    town.pass_time(4)
    assert town.shares() == [15, 15]
    assert "taken over by another runner; no longer ticked here" in caplog.text


def test_paused_sensors_count_in_no_share(town):
    town.join()
    for number in range(20):
        town.house.store.sensors.pause(f"feed-{number:02}")
    town.join()
    town.pass_time(3)
    assert town.shares() == [5, 5]
    for number in range(20):
        town.house.store.sensors.resume(f"feed-{number:02}")
    town.pass_time(3)
    assert town.shares() == [15, 15]


def test_runner_claims_above_its_share_what_no_other_takes(town):
    first = town.join()
    # A runner that tells nothing of its workload, and takes nothing.
    silent = town.house.runner()
    town.pass_time(2)
    assert town.shares() == [15]
    town.pass_time(int(UNWANTED_SECONDS))
    assert town.shares() == [30]
    before = town.owners()
    town.pass_time(10)
    assert town.moves(before) == 0
    silent.heartbeat.stop()
    town.pass_time(2)
    town.join()
    town.pass_time(3)
    assert town.shares() == [15, 15]
    assert town.runners[0] is first


def test_runner_that_claimed_too_late_gets_its_share_in_the_end(house):
    town = Town(house, count=4)
    town.join()
    late = house.runner()  # registered, and it does not get on: its store hangs
    for _ in range(int(UNWANTED_SECONDS + OFFER_SECONDS) + 10):  # offered again in vain
        town.pass_time(1)
        late.heartbeat.beat()
    assert town.shares() == [4]
    late.open()
    town.runners.append(late)
    town.pass_time(int(OFFER_SECONDS))
    assert town.shares() == [4, 0]
    town.pass_time(int(OFFER_SECONDS) + 5)
    assert town.shares() == [2, 2]
    before = town.owners()
    town.pass_time(10)
    assert town.moves(before) == 0


def test_sensor_is_handed_over_after_its_poll(house):
    handed_over = []

    def slow(state):
        # While it is polled another runner joins, and both look.
        if not handed_over:
            joined = town.join()
            for _ in range(5):
                house.clock.advance(0.1)
                runner.reconcile()
                joined.reconcile()
            handed_over.append(house.store.sensors.get("slow").owner)
        return NotTriggered(state)

    town = Town(house, 1)
    house.sensor("slow", probe(slow), deadline="1h")
    runner = house.runner(threads=1)
    town.runners.append(runner)
    runner.open()
    town.pass_time(5)
    assert handed_over == [runner.heartbeat.runner.id]
    assert town.shares() == [1, 1]
    ticks = house.store.ticks.latest(source="sensor:slow")
    assert [str(tick.outcome) for tick in ticks] == ["not_triggered"]


def test_run_once_ticks_all_that_is_free_whatever_its_share(town):
    town.house.runner()
    town.house.runner().run_once()
    assert [feed.polls for feed in town.feeds] == [1] * 30
