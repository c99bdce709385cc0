import threading
from datetime import UTC

import pytest

from flowstone_core.model.clock import SystemClock


def test_the_wall_clock_is_aware_and_in_utc():
    assert SystemClock().now().tzinfo is UTC


def test_the_monotonic_clock_never_goes_back():
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1_000)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("timeout", [0.001, 0, -1, -1e300])
def test_a_wait_ends_when_its_time_has_passed(timeout):
    assert SystemClock().waker().wait(timeout) is False


@pytest.mark.parametrize("timeout", [None, 0, 60, 1e300])
def test_an_alarm_that_was_set_before_the_wait_is_not_missed(timeout):
    waker = SystemClock().waker()
    waker.set()
    assert waker.wait(timeout) is True


def test_waiting_clears_the_alarm_however_often_it_was_set():
    waker = SystemClock().waker()
    for _ in range(3):
        waker.set()
    assert waker.wait(0) is True
    assert waker.wait(0) is False


def test_another_thread_wakes_who_waits():
    waker = SystemClock().waker()
    woken = []
    thread = threading.Thread(target=lambda: woken.append(waker.wait(60)))
    thread.start()
    waker.set()
    thread.join(timeout=30)
    assert woken == [True]
