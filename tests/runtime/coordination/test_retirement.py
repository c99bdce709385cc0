"""Retirement of runners that died: their processes are gone, or their leases have ended."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.retirement import machine_id, retire_dead

LEASE = timedelta(seconds=30)


def dead_pid():
    """The id of a process that is certainly gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def owner_of_feed(store, clock, **other):
    runner = replace(Heartbeat(store, clock, LEASE).runner, **other)
    store.runners.register(runner)
    store.sensors.declare(["feed"], clock.now())
    store.sensors.claim(runner.id, ["feed"], clock.now())
    return runner


def retire(store, clock, runner_id="me"):
    return retire_dead(store, store.peers.all(clock.now()), runner_id, clock.now())


@pytest.mark.parametrize(("where", "survives"), [("here", False), ("elsewhere", True)])
def test_D8_killed_runner_of_this_machine_is_retired(store, fake_clock, caplog, where, survives):
    machine = machine_id() if where == "here" else "another machine"
    runner = owner_of_feed(store, fake_clock, pid=dead_pid(), machine=machine)
    assert retire(store, fake_clock) is not survives
    assert (store.sensors.get("feed").owner is not None) is survives
    assert [each.id for each in store.peers.all(fake_clock.now())] == [runner.id] * survives
    assert ("runner died; taking over its work" in caplog.text) is not survives


@pytest.mark.parametrize("pid", [os.getppid(), 1], ids=["ours", "of another user"])
def test_living_process_of_this_machine_is_left_alone(store, fake_clock, pid):
    owner_of_feed(store, fake_clock, pid=pid)
    assert not retire(store, fake_clock)
    assert store.sensors.get("feed").owner is not None


def test_runner_whose_lease_has_ended_is_retired(store, fake_clock, caplog):
    runner = owner_of_feed(store, fake_clock)
    fake_clock.advance(LEASE)
    assert not retire(store, fake_clock, runner.id)
    assert retire(store, fake_clock)
    assert store.sensors.get("feed").owner is None
    assert not retire(store, fake_clock)
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert (record.runner, record.reason) == (runner.id, "its lease has ended")


def test_runner_that_was_renewed_meanwhile_is_left_alone(store, fake_clock, caplog):
    runner = owner_of_feed(store, fake_clock)
    late = fake_clock.now() + LEASE
    peers = store.peers.all(late)
    store.runners.beat(runner.id, fake_clock.now(), 2 * LEASE)
    assert not retire_dead(store, peers, "me", late)
    assert store.sensors.get("feed").owner == runner.id
    assert caplog.records == []
