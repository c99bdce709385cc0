"""The runner against a real store: on time, one at a time, contained."""

import threading
from datetime import timedelta

from flowstone_core.errors import RetryLater, SensorBroken
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.event import NotTriggered, Triggered
from flowstone_core.model.tick import TickOutcome
from tests.processes import until
from tests.runtime.runner_house import (
    LEASE,
    PATIENCE,
    probe,
)


def test_event_commits_its_materialization_and_wakes_the_engine(house):
    once = probe(lambda state: Triggered("eu", 1) if state == 0 else NotTriggered(state))
    house.sensor("feed", once)
    runner = house.opened()
    (event,) = house.store.events.latest()
    (materialization,) = house.store.materializations.latest()
    assert (event.source, event.asset, event.partition) == ("sensor:feed", "orders", "eu")
    assert event.materialization_id == materialization.id
    assert house.store.sensors.get("feed").checkpoint.state == "1"
    assert house.woken == 1
    house.pass_time(runner, 30)
    assert len(house.store.events.latest()) == 1
    assert house.outcomes("feed") == [TickOutcome.TRIGGERED]


def test_quiet_ticks_write_nothing(house):
    feed = house.sensor("feed", probe())
    runner = house.opened()
    before = house.store.sensors.get("feed")
    house.pass_time(runner, 100)
    assert feed.polls >= 10
    assert house.store.sensors.get("feed") == before
    assert house.outcomes("feed") == [TickOutcome.NOT_TRIGGERED]  # the first one


def test_intervals_run_from_start_to_start(house):
    feed = house.sensor("feed", probe(), every="10s")
    runner = house.opened()
    house.pass_time(runner, 100)
    assert feed.polls == 11


def test_T5_machine_that_slept_polls_once_and_keeps_its_step(house):
    feed = house.sensor("feed", probe(), every="10s")
    runner = house.opened()
    house.clock.advance(3600)
    assert runner.step() <= 10
    runner.settle()
    assert feed.polls == 2
    house.pass_time(runner, 10)
    assert feed.polls == 3


def test_T1_T2_wall_clock_steps_leave_intervals_alone(house):
    feed = house.sensor("feed", probe(), every="10s")
    runner = house.opened()
    house.clock.set_now(house.clock.now() + timedelta(days=3650))
    house.pass_time(runner, 20)
    house.clock.set_now(house.clock.now() - timedelta(days=7300))
    house.pass_time(runner, 20)
    assert feed.polls == 5


def test_first_polls_are_spread_deterministically(house):
    names = [f"feed-{number}" for number in range(40)]
    for name in names:
        house.sensor(name, probe())
    runner = house.runner()
    runner.open()
    started = []
    for _ in range(5):
        house.clock.advance(1)
        runner.step()
        runner.settle()
        started.append(sum(sensor.sensor_class.polls for sensor in house.pipeline.sensors.values()))
    assert started[-1] == 40
    assert started[0] < 20
    runner.stop(timedelta(seconds=5))


def test_T10_overdue_poll_follows_at_once_and_never_overlaps(house):
    running, let_go = threading.Event(), threading.Event()

    def slow(state):
        running.set()
        assert let_go.wait(PATIENCE)
        return NotTriggered(state)

    feed = house.sensor("feed", probe(slow), every="1s", deadline="1h")
    runner = house.runner()
    runner.open()
    house.clock.advance(5)
    runner.step()
    assert running.wait(PATIENCE)
    for _ in range(10):
        house.clock.advance(1)
        runner.step()
    assert feed.polls == 1
    let_go.set()
    runner.settle()
    runner.step()
    runner.settle()
    assert feed.polls == 2


def test_failing_sensor_backs_off_until_a_good_poll(house):
    answers = [OSError("one"), OSError("two")]

    def flaky(state):
        if answers:
            raise answers.pop(0)
        return NotTriggered(state)

    feed = house.sensor("feed", probe(flaky), every="10s", backoff="1h", backoff_limit="1h")
    runner = house.opened()
    first = house.store.sensors.get("feed")
    assert first.checkpoint.failures == 1
    assert first.last_error == "OSError: one"
    house.clock.set_now(first.checkpoint.not_before)
    while feed.polls == 1:
        house.pass_time(runner, 1)
    assert house.store.sensors.get("feed").checkpoint.failures == 2
    while feed.polls == 2:
        house.pass_time(runner, 1)
    checkpoint = house.store.sensors.get("feed").checkpoint
    assert (checkpoint.failures, checkpoint.not_before) == (0, None)
    assert house.outcomes("feed") == [TickOutcome.FAILED] * 2 + [TickOutcome.NOT_TRIGGERED]


def test_retry_later_delays_the_next_poll_without_a_failure(house):
    answers = [RetryLater(timedelta(seconds=60), "busy")]

    def polite(state):
        if answers:
            raise answers.pop()
        return NotTriggered(state)

    feed = house.sensor("feed", probe(polite), every="10s")
    runner = house.opened()
    assert house.store.sensors.get("feed").checkpoint.failures == 0
    house.pass_time(runner, 54)
    assert feed.polls == 1
    house.pass_time(runner, 12)
    assert feed.polls >= 2


def test_quarantined_sensor_is_polled_hourly(house):
    def down(state):
        raise ConnectionError("down")

    feed = house.sensor("feed", probe(down), backoff="1s", backoff_limit="1s", quarantine_after=3)
    runner = house.opened()
    house.pass_time(runner, 60)
    assert feed.polls == 3
    house.pass_time(runner, 3600)
    assert feed.polls == 4


def test_broken_sensor_is_polled_after_its_reset(house):
    answers = [SensorBroken("bucket was deleted; reset me when it is back")]

    def broken(state):
        if answers:
            raise answers.pop()
        return Triggered("again", state)

    feed = house.sensor("feed", probe(broken))
    runner = house.opened()
    house.pass_time(runner, 100)
    assert feed.polls == 1
    house.store.sensors.reset("feed")
    runner.heartbeat.beat()
    runner.reconcile()
    house.pass_time(runner, 5)
    assert feed.polls == 2
    assert house.store.events.latest()[0].partition == "again"


def test_broken_sensor_stays_broken_after_a_restart(house):
    def broken(state):
        raise SensorBroken("bucket was deleted")

    feed = house.sensor("feed", probe(broken))
    first = house.opened()
    first.stop(timedelta(0))
    first.heartbeat.stop()
    second = house.opened()
    house.pass_time(second, 100)
    assert feed.polls == 1


def test_pause_and_resume_take_effect_at_the_next_reconciliation(house):
    feed = house.sensor("feed", probe())
    runner = house.opened()
    house.store.sensors.pause("feed")
    runner.reconcile()
    house.pass_time(runner, 60)
    assert feed.polls == 1
    house.store.sensors.resume("feed")
    runner.heartbeat.beat()
    runner.reconcile()
    house.pass_time(runner, 5)
    assert feed.polls == 2


def test_poll_of_a_paused_sensor_is_discarded_and_found_again(house):
    def pausing(state):
        if house.store.sensors.get("feed").paused or state:
            return NotTriggered(state)
        if feed.polls == 1:
            house.store.sensors.pause("feed")
        return Triggered("seen", 1)

    feed = house.sensor("feed", probe(pausing))
    runner = house.opened()
    assert house.store.events.latest() == []
    house.store.sensors.resume("feed")
    runner.reconcile()
    house.pass_time(runner, 5)
    assert [event.partition for event in house.store.events.latest()] == ["seen"]


def test_second_runner_takes_over_when_the_first_lease_expires(house):
    feed = house.sensor("feed", probe(lambda state: Triggered(f"p{state}", state + 1)))
    first, second = house.opened(), house.runner()
    second.open()
    house.pass_time(second, 20)
    assert feed.polls == 1
    for _ in range(3):
        second.heartbeat.beat()
        house.clock.advance(LEASE / 3)
    for _ in range(10):
        second.heartbeat.beat()
        second.reconcile()
    house.pass_time(second, 5)
    assert house.store.sensors.get("feed").owner == second.heartbeat.runner.id
    assert feed.polls == 2
    # The first one wakes up late: what it finds is refused, and it finds out that it lost.
    first.step()
    first.settle()
    assert [event.partition for event in house.store.events.latest()] == ["p1", "p0"]
    polls = feed.polls
    house.pass_time(first, 60)
    assert feed.polls == polls


def test_P1_P2_hanging_sensor_delays_no_other(house):
    running, let_go = threading.Event(), threading.Event()

    def hang(state):
        if state == 0 and not let_go.is_set():
            running.set()
            assert let_go.wait(PATIENCE)
        return Triggered("late", 1) if state == 0 else NotTriggered(state)

    hanging = house.sensor("hanging", probe(hang), every="5s", deadline="20s", backoff="1s")
    healthy = house.sensor("healthy", probe(), every="5s")
    runner = house.runner(threads=2)
    runner.open()
    for _ in range(30):
        house.clock.advance(1)
        runner.step()
        if runner._scheduler.tickers["sensor:hanging"].busy:
            assert running.wait(PATIENCE)
        until(lambda: not runner._scheduler.tickers["sensor:healthy"].busy)
    assert runner.settle(timedelta(seconds=PATIENCE))
    assert runner.stuck == 1
    assert house.outcomes("hanging") == [TickOutcome.TIMED_OUT]
    assert hanging.polls == 1
    assert healthy.polls >= 5
    house.pass_time(runner, 60)
    assert hanging.polls == 1
    let_go.set()
    until(lambda: not runner.stuck)
    house.pass_time(runner, 60)
    assert hanging.polls >= 2
    assert [event.partition for event in house.store.events.latest()] == ["late"]
    assert house.store.events.latest()[0].tick_id is not None


def test_run_once_polls_each_sensor_once_unless_it_asked_for_later(house, caplog):
    def polite(state):
        raise RetryLater(60)

    def give_up(state):
        raise SensorBroken("gone")

    down = house.sensor("down", probe(lambda state: 1 / 0), backoff="1h")
    broken = house.sensor("broken", probe(give_up))
    paused = house.sensor("paused", probe())
    house.store.sensors.declare(["paused"], house.clock.now())
    house.store.sensors.pause("paused")
    later = house.sensor("later", probe(polite))
    feeds = [house.sensor("a", probe()), house.sensor("b", probe(lambda s: Triggered("x", s)))]
    runner = house.runner()
    runner.run_once()
    assert [feed.polls for feed in feeds] == [1, 1]
    assert len(house.store.events.latest()) == 1
    runner.stop(timedelta(seconds=5))
    runner.heartbeat.stop()
    house.runner().run_once()
    assert [feed.polls for feed in feeds] == [2, 2]
    assert (down.polls, later.polls, broken.polls, paused.polls) == (2, 1, 1, 0)
    for reason in ("asked to be polled after", "broken until it is reset", "it is paused"):
        assert reason in caplog.text


def test_disabled_sensor_is_not_polled(house):
    feed = house.sensor("feed", probe(), enabled=False)
    runner = house.opened()
    assert feed.polls == 0
    assert runner.step() is None
    assert runner.stop(timedelta(seconds=1))


def test_runner_stop_cleans_up_polled_sensors(house):
    cleaned = []
    house.sensor("feed", probe(cleanup=lambda: cleaned.append(1)))
    runner = house.opened()
    assert runner.stop(timedelta(seconds=5))
    assert cleaned == [1]


def test_k12_stop_returns_after_its_grace_time(house):
    running, let_go = threading.Event(), threading.Event()

    def hang(state):
        running.set()
        let_go.wait(PATIENCE)
        return NotTriggered(state)

    house.sensor("feed", probe(hang), deadline="1h")
    runner = house.runner()
    runner.open()
    house.clock.advance(5)
    runner.step()
    assert running.wait(PATIENCE)
    assert runner.stop(timedelta(0)) is False
    let_go.set()


def test_runner_on_the_real_clock_polls_until_stopped(house):
    third = threading.Event()
    clock = SystemClock()

    def poll(state):
        if state == 2:
            third.set()
        return Triggered(f"p{state}", state + 1)

    house.sensor("feed", probe(poll), every="10ms")
    runner = house.runner(clock=clock)
    runner.start()
    assert third.wait(PATIENCE)
    assert runner.stop(timedelta(seconds=PATIENCE))
    partitions = [event.partition for event in reversed(house.store.events.latest(limit=500))]
    assert partitions == [f"p{number}" for number in range(len(partitions))]
    assert len(partitions) >= 3
