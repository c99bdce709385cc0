"""Lease: a runner steps down by its own clock, and takes nobody for dead too soon."""

from datetime import timedelta

import pytest

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.runtime.coordination.lease import Lease
from flowstone_core.runtime.coordination.store_outage import StoreOutage

STEPPED_DOWN = "no heartbeat succeeded for too long: stepping down"
RESUMED = "heartbeats succeed again: polling and claiming resumed"


@pytest.fixture
def lease(fake_clock):
    return Lease(timedelta(seconds=15), fake_clock)


def test_lease_beats_each_fifth_and_is_held_for_two_thirds(lease, fake_clock):
    assert lease.period == 3
    lease.renewed(fake_clock.monotonic())
    fake_clock.advance(9.999)
    assert lease.held
    fake_clock.advance(0.001)
    assert not lease.held
    assert not lease.settled


def test_lease_counts_from_the_beginning_of_a_heartbeat(lease, fake_clock):
    began_at = fake_clock.monotonic()
    fake_clock.advance(10)
    lease.renewed(began_at)
    assert not lease.held


def test_lease_before_the_first_heartbeat_is_held(lease, fake_clock):
    fake_clock.advance(1_000)
    assert lease.held
    assert lease.settled


def test_lease_that_was_renewed_late_settles_first(lease, fake_clock):
    lease.renewed(fake_clock.monotonic())
    fake_clock.advance(6)
    lease.renewed(fake_clock.monotonic())
    assert lease.settled
    fake_clock.advance(6.001)
    lease.renewed(fake_clock.monotonic())
    assert lease.held
    assert not lease.settled
    fake_clock.advance(5)
    assert lease.settled


def test_lease_tells_of_stepping_down_while_no_heartbeat_returns(lease, fake_clock, caplog):
    lease.renewed(fake_clock.monotonic())
    lease.start()
    for _ in range(12):
        fake_clock.wait_for_sleepers(1)
        assert STEPPED_DOWN not in caplog.text or not lease.held
        fake_clock.advance(1)
    fake_clock.wait_for_sleepers(1)
    assert caplog.text.count(STEPPED_DOWN) == 1
    lease.renewed(fake_clock.monotonic())
    assert caplog.text.count(RESUMED) == 1
    lease.stop()


def test_outage_lasts_while_the_lease_is_not_held(lease, fake_clock):
    outage = StoreOutage(lease)
    assert not outage.on
    lease.renewed(fake_clock.monotonic())
    fake_clock.advance(10)
    assert outage.on
    outage.begin(StoreUnavailableError("gone"))
    outage.end()
    assert outage.on
    lease.renewed(fake_clock.monotonic())
    assert not outage.on
