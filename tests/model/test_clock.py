import signal
import threading
from datetime import UTC, timedelta

import pytest

from flowstone_core.model import clock
from flowstone_core.model.clock import StoreClock, SystemClock
from flowstone_core.testing import FakeClock


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


# -- the clock of the store ------------------------------------------------------------------------


class StoppedMachine(FakeClock):
    """A machine whose clocks stand still until a test moves them."""


@pytest.fixture
def machine(monkeypatch):
    machine = StoppedMachine()
    monkeypatch.setattr(StoreClock, "monotonic", lambda _: machine.monotonic())
    return machine


def test_store_clock_is_the_machines_until_it_is_set(machine):
    clock = StoreClock(machine)
    assert clock.now() == machine.now()
    assert clock.offset is None


def test_T8_store_clock_goes_on_from_the_answer_of_the_store(machine):
    clock = StoreClock(machine)
    store = machine.now() - timedelta(seconds=60)
    clock.set(store, machine.monotonic())
    assert (clock.now(), clock.offset) == (store, 60)
    machine.advance(7)
    machine.set_now(machine.now() + timedelta(days=1))
    assert clock.now() == store + timedelta(seconds=7)
    assert clock.offset == 60 + 24 * 3600


def test_store_clock_is_never_ahead_by_the_time_of_an_answer(machine):
    clock = StoreClock(machine)
    asked_at, store = machine.monotonic(), machine.now()
    machine.advance(4)
    clock.set(store, asked_at)
    assert clock.now() == store


def test_store_clock_keeps_what_agrees_with_a_slow_answer(machine):
    clock = StoreClock(machine)
    store = machine.now()
    clock.set(store, machine.monotonic())
    asked_at = machine.monotonic()
    machine.advance(4)
    for seconds in (0, 1, 4):
        clock.set(store + timedelta(seconds=seconds), asked_at)
        assert clock.now() == store + timedelta(seconds=4)
    clock.set(store + timedelta(seconds=5), asked_at)
    assert clock.now() == store + timedelta(seconds=5)


def test_store_clock_without_an_argument_has_the_clock_of_this_machine():
    assert abs(StoreClock().now() - SystemClock().now()) < timedelta(minutes=1)
