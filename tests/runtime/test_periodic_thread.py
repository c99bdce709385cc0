"""Periodic thread: waits, wakes, survives exceptions, stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from flowstone_core.runtime.periodic_thread import PeriodicThread
from flowstone_core.testing import FakeClock
from tests.processes import until

PATIENCE = 60


class Steps:
    """Counts the steps of a loop; the test reads how many have begun."""

    def __init__(self, answer: Callable[[int], float | None]) -> None:
        self._answer = answer
        self._begun = threading.Condition()
        self.count = 0

    def __call__(self) -> float | None:
        with self._begun:
            self.count += 1
            self._begun.notify_all()
        return self._answer(self.count)

    def wait_for(self, count: int) -> None:
        with self._begun:
            assert self._begun.wait_for(lambda: self.count >= count, PATIENCE)


def wait_for_the_end(loop: PeriodicThread) -> None:
    """Wait for the end of the thread; `stop` itself waits no longer than 5 s of real time."""
    until(lambda: not loop.alive)


def test_periodic_thread_waits_as_long_as_the_step_says(fake_clock: FakeClock) -> None:
    steps = Steps(lambda count: 10.0 * count)
    loop = PeriodicThread("duty", steps, fake_clock, first_wait=5.0)
    loop.start()
    for count, seconds in enumerate((5, 10, 20), start=1):
        fake_clock.wait_for_sleepers(1)
        fake_clock.advance(seconds - 1)
        fake_clock.wait_for_sleepers(1)
        assert steps.count == count - 1
        fake_clock.advance(1)
        steps.wait_for(count)
    loop.stop()
    wait_for_the_end(loop)
    assert steps.count == 3


def test_periodic_thread_wake_ends_a_wait_without_limit(fake_clock: FakeClock) -> None:
    steps = Steps(lambda count: None)
    loop = PeriodicThread("duty", steps, fake_clock)
    loop.start()
    for count in (1, 2, 3):
        steps.wait_for(count)
        fake_clock.wait_for_sleepers(1)
        loop.wake()
    steps.wait_for(4)
    loop.stop()
    wait_for_the_end(loop)


def test_periodic_thread_logs_an_exception_and_goes_on(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_first(count: int) -> float:
        return 1 / (count - 1)

    steps = Steps(fail_first)
    loop = PeriodicThread("duty", steps, fake_clock, retry_seconds=7.0)
    loop.start()
    steps.wait_for(1)
    fake_clock.wait_for_sleepers(1)
    fake_clock.advance(7)
    steps.wait_for(2)
    fake_clock.wait_for_sleepers(1)
    assert loop.problem is None
    loop.stop()
    record, over = caplog.records
    assert (record.name, record.levelno) == ("flowstone.duty", logging.ERROR)
    assert record.getMessage() == "periodic step failed; the next step follows"
    assert "ZeroDivisionError" in caplog.text
    assert over.getMessage() == "periodic steps succeed again"


def test_U1_periodic_thread_logs_a_lasting_fault_once(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(count: int) -> float:
        raise AttributeError(f"no attribute {count}")

    steps = Steps(fail)
    loop = PeriodicThread("duty", steps, fake_clock)
    loop.start()
    for count in (1, 2, 3):
        steps.wait_for(count)
        fake_clock.wait_for_sleepers(1)
        assert loop.problem == f"duty failed: AttributeError: no attribute {count}"
        fake_clock.advance(1)
    loop.stop()
    assert caplog.messages == ["periodic step failed; the next step follows"]


def test_periodic_thread_stopped_by_its_own_step_ends(fake_clock: FakeClock) -> None:
    stopped: list[bool] = []

    def stop(count: int) -> float:
        loop.stop()
        stopped.append(loop.stopping)
        return 0.0

    steps = Steps(stop)
    loop = PeriodicThread("duty", steps, fake_clock)
    loop.start()
    steps.wait_for(1)
    loop.stop()
    wait_for_the_end(loop)
    assert (stopped, steps.count) == ([True], 1)


def test_periodic_thread_stopped_while_its_step_waits_ends(fake_clock: FakeClock) -> None:
    def rest(count: int) -> float:
        loop.wait(60)
        return 3600.0

    steps = Steps(rest)
    loop = PeriodicThread("duty", steps, fake_clock)
    loop.start()
    steps.wait_for(1)
    fake_clock.wait_for_sleepers(1)
    loop.stop()
    wait_for_the_end(loop)


def test_periodic_thread_never_started_can_be_stopped(fake_clock: FakeClock) -> None:
    PeriodicThread("duty", lambda: None, fake_clock).stop()
