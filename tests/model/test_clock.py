import signal
import threading
from datetime import UTC

import pytest

from flowstone_core.model import clock
from flowstone_core.model.clock import SystemClock


def test_clock_now_is_aware_and_in_utc():
    assert SystemClock().now().tzinfo is UTC


def test_clock_monotonic_never_goes_back():
    system = SystemClock()
    readings = [system.monotonic() for _ in range(1_000)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("timeout", [0.001, 0, -1, -1e300])
def test_wait_ends_after_its_timeout(timeout):
    assert SystemClock().waker().wait(timeout) is False


@pytest.mark.parametrize("timeout", [None, 0, 60, 1e300])
def test_alarm_set_before_wait_is_not_missed(timeout):
    waker = SystemClock().waker()
    waker.set()
    assert waker.wait(timeout) is True


def test_wait_clears_alarm_set_many_times():
    waker = SystemClock().waker()
    for _ in range(3):
        waker.set()
    assert waker.wait(0) is True
    assert waker.wait(0) is False


def test_alarm_set_by_another_thread_ends_wait():
    waker = SystemClock().waker()
    woken = []
    thread = threading.Thread(target=lambda: woken.append(waker.wait(60)))
    thread.start()
    waker.set()
    thread.join(timeout=30)
    assert woken == [True]


def test_wait_in_main_thread_lasts_longer_than_one_slice(monkeypatch):
    monkeypatch.setattr(clock, "SIGNAL_SECONDS", 0.001)
    assert SystemClock().waker().wait(0.01) is False


def test_signal_that_another_thread_received_ends_wait():
    waker = SystemClock().waker()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: waker.set())
    thread = threading.Thread(
        target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    )
    try:
        thread.start()
        assert waker.wait(60) is True
    finally:
        thread.join(timeout=30)
        signal.signal(signal.SIGUSR1, before)
