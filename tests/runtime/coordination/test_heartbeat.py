"""Heartbeat: registration, renewal of the lease, and retirement of dead runners."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.engine import RunnerCondition
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.retirement import machine_id

LEASE = timedelta(seconds=30)


def alive(store, clock):
    return {runner.id for runner in store.runners.all(alive_at=clock.now())}


@pytest.fixture
def heartbeat(store, fake_clock):
    heartbeat = Heartbeat(store, fake_clock, LEASE)
    heartbeat.start()
    yield heartbeat
    heartbeat.stop()


@pytest.fixture
def unstarted(store, fake_clock):
    """A heartbeat that is registered, and beats when a test has it beat."""
    heartbeat = Heartbeat(store, fake_clock, LEASE)
    store.runners.register(heartbeat.runner)
    return heartbeat


def test_heartbeat_registers_process_and_machine(heartbeat, store):
    (runner,) = store.runners.all()
    assert runner == heartbeat.runner
    assert runner.pid == os.getpid()
    assert runner.machine == machine_id()


def test_D10_runners_of_one_machine_and_process_have_different_ids(heartbeat, store, fake_clock):
    other = Heartbeat(store, fake_clock, LEASE)
    other.start()
    assert alive(store, fake_clock) == {heartbeat.runner.id, other.runner.id}
    assert (other.runner.host, other.runner.pid) == (heartbeat.runner.host, heartbeat.runner.pid)
    other.stop()


def test_heartbeat_beat_renews_the_lease(heartbeat, store, fake_clock):
    fake_clock.advance(20)
    heartbeat.beat()
    fake_clock.advance(20)
    assert alive(store, fake_clock) == {heartbeat.runner.id}


def test_heartbeat_thread_beats_five_times_a_lease(heartbeat, store, fake_clock):
    for _ in range(12):
        fake_clock.wait_for_sleepers(2)
        fake_clock.advance(6)
        while store.runners.all()[0].lease_until < fake_clock.now() + LEASE:
            assert heartbeat.alive


def test_heartbeat_after_expired_lease_registers_again(heartbeat, store, fake_clock, caplog):
    store.runners.stop(heartbeat.runner.id, fake_clock.now())
    assert alive(store, fake_clock) == set()
    heartbeat.beat()
    assert alive(store, fake_clock) == {heartbeat.runner.id}
    assert "lease expired; registering this runner again" in caplog.text


def test_S4_runner_that_cannot_commit_does_not_renew(unstarted, store, fake_clock, caplog):
    until = store.runners.all()[0].lease_until
    with unstarted.session.commits.measured(fake_clock):
        fake_clock.advance(9)
        unstarted.beat()
        assert "a commit takes too long" not in caplog.text
        fake_clock.advance(1)
        unstarted.beat()
        assert "a commit takes too long" in caplog.text
        renewed = store.runners.all()[0].lease_until
        assert renewed == until + timedelta(seconds=10)
        for _ in range(3):
            fake_clock.advance(10)
            unstarted.beat()
        assert store.runners.all()[0].lease_until == renewed + timedelta(seconds=10)
        fake_clock.advance(10)
        assert alive(store, fake_clock) == set()
    unstarted.beat()
    assert alive(store, fake_clock) == {unstarted.runner.id}
    assert "the commit that took too long has ended" in caplog.text
    assert caplog.text.count("a commit takes too long") == 1


@pytest.mark.parametrize("days", [800, -800])
@pytest.mark.parametrize("beats", [True, False])
def test_S8_no_runner_witnesses_the_jump_of_its_clock(heartbeat, store, fake_clock, days, beats):
    fake_clock.advance(60)
    fake_clock.set_now(fake_clock.now() + timedelta(days=days))
    jumped = fake_clock.now()
    if beats:
        heartbeat.beat()
        assert alive(store, fake_clock) == {heartbeat.runner.id}
    heartbeat.stop()
    period = store.runners.periods()[heartbeat.runner.id]
    assert (period.begin, period.end) == (jumped - timedelta(seconds=60), jumped)


def test_heartbeat_keeps_its_start_while_the_clock_is_adjusted(heartbeat, store, fake_clock):
    fake_clock.set_now(fake_clock.now() + timedelta(minutes=50))
    heartbeat.beat()
    now = fake_clock.now()
    assert store.runners.all() == [replace(heartbeat.runner, lease_until=now + LEASE, beat_at=now)]


def test_heartbeat_outage_is_logged_once_and_its_end(store, fake_clock, caplog):
    class StoreOutage:
        @property
        def runners(self):
            return self

        def beat(self, *arguments):
            if self.on:
                raise StoreUnavailableError("database is locked")
            return store.runners.beat(*arguments)

        def check_writable(self):
            probes.append(self.on)
            if len(probes) == 1:
                raise StoreUnavailableError("disk full")

    probes = []
    outage = StoreOutage()
    heartbeat = Heartbeat(outage, fake_clock, LEASE)
    store.runners.register(heartbeat.runner)
    for outage.on in (True, True, True, False, False, False):
        heartbeat.beat()
    # A lease takes less than a tick: the outage lasts until a tick can be written.
    assert probes == [False, False]
    messages = [record.message for record in caplog.records]
    assert messages == [
        "store unavailable; polling paused until a write succeeds",
        "store available again; polling resumed",
    ]


def test_S6_U1_heartbeat_stores_the_condition_of_its_runner(heartbeat, store):
    heartbeat.inspect = lambda: RunnerCondition(3, "every poll thread hangs", blocked=True)
    heartbeat.beat()
    (runner,) = store.runners.all()
    assert (runner.stuck_threads, runner.blocked) == (3, True)
    assert runner.problem == "every poll thread hangs"
    heartbeat.inspect = RunnerCondition
    heartbeat.beat()
    (runner,) = store.runners.all()
    assert (runner.stuck_threads, runner.problem, runner.blocked) == (0, None, False)


def test_heartbeat_stop_releases_its_sensors(store, fake_clock):
    heartbeat = Heartbeat(store, fake_clock, LEASE)
    heartbeat.start()
    store.sensors.declare(["feed"], fake_clock.now())
    store.sensors.claim(heartbeat.runner.id, ["feed"], fake_clock.now())
    heartbeat.stop()
    assert alive(store, fake_clock) == set()
    assert store.sensors.get("feed").owner is None


def test_heartbeat_rechecks_what_is_owned_before_polling_resumes(unstarted, store, fake_clock):
    seen, answers = [], [StoreUnavailableError("gone"), None]

    def recheck():
        seen.append(unstarted.outage.on)
        if (answer := answers.pop(0)) is not None:
            raise answer

    unstarted.on_expired = recheck
    unstarted.beat()
    told = []
    unstarted.outage.listen(lambda: told.append(unstarted.outage.on))
    fake_clock.advance(LEASE)
    assert unstarted.outage.on
    unstarted.beat()
    assert (seen, unstarted.outage.on) == ([True], True)
    unstarted.beat()
    assert (seen, unstarted.outage.on) == ([True, True], False)
    assert told[-1] is False
    assert alive(store, fake_clock) == {unstarted.runner.id}


def test_heartbeat_that_was_late_tells_that_polling_resumes(unstarted, fake_clock):
    unstarted.beat()
    told = []
    unstarted.outage.listen(lambda: told.append(unstarted.outage.on))
    fake_clock.advance(LEASE * 0.9)
    assert unstarted.outage.on
    unstarted.beat()
    assert told == [False]
