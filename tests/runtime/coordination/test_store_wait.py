"""Wait for the store at the start: for a limit that is told, and until a stop."""

from datetime import timedelta

import pytest

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.runtime.coordination.store_wait import (
    StartWait,
    StopRequestedError,
    wait_for_store,
)

MINUTE = timedelta(minutes=1)
LOCKED = StoreUnavailableError("the store is locked", hint="another process holds the lock")


class Store:
    """A store that is away for a number of calls."""

    def __init__(self, away, error=LOCKED):
        self.away, self.error, self.calls = away, error, 0

    def use(self):
        self.calls += 1
        if self.calls <= self.away:
            raise self.error
        return "used"


@pytest.fixture
def passing(fake_clock):
    """A wait that lets the time pass at once."""

    def wait(seconds):
        fake_clock.advance(seconds)
        return False

    return wait


def test_R4_R5_wait_ends_when_the_store_is_available(fake_clock, passing, caplog):
    store = Store(3)
    assert wait_for_store(store.use, fake_clock, MINUTE, passing) == "used"
    assert store.calls == 4
    first, last = caplog.records
    assert first.getMessage() == "store unavailable; trying again every second"
    assert (first.error, first.limit) == (str(LOCKED), "1m")
    assert last.getMessage() == "store available"


def test_R4_R5_wait_gives_up_after_its_limit(fake_clock, passing):
    store = Store(1_000)
    with pytest.raises(StoreUnavailableError) as raised:
        wait_for_store(store.use, fake_clock, MINUTE, passing)
    assert str(raised.value) == (
        "the store is locked; gave up after 1m (another process holds the lock)"
    )
    assert store.calls == 61


def test_S15_wait_without_limit_lasts(fake_clock, passing):
    assert wait_for_store(Store(100_000).use, fake_clock, None, passing) == "used"


def test_wait_ends_when_a_stop_is_requested(fake_clock):
    with pytest.raises(StopRequestedError, match="locked"):
        wait_for_store(Store(2).use, fake_clock, MINUTE, lambda seconds: True)


def test_wait_is_not_for_a_store_that_refuses(fake_clock, passing):
    with pytest.raises(StoreError, match="newer"):
        wait_for_store(Store(1, StoreError("newer")).use, fake_clock, MINUTE, passing)


def test_R4_limit_counts_from_the_start(fake_clock, passing):
    since = fake_clock.monotonic()
    fake_clock.advance(50)
    store = Store(1_000)
    with pytest.raises(StoreUnavailableError, match="gave up after 1m"):
        wait_for_store(store.use, fake_clock, MINUTE, passing, since)
    assert store.calls == 11


def test_R4_start_that_was_stopped_does_not_wait(fake_clock):
    start = StartWait(fake_clock, MINUTE)
    assert start.wait_for(Store(0).use) == "used"
    start.stop()
    assert start.stopped
    with pytest.raises(StopRequestedError, match="locked"):
        start.wait_for(Store(2).use)
