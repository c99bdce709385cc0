"""Calls that are waited for no longer than their deadline."""

from __future__ import annotations

import threading

from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.testing import FakeClock

PATIENCE = 60


def test_a_call_is_made_in_a_daemon_thread_and_its_answer_returned(fake_clock: FakeClock) -> None:
    thread = TimeLimit(clock=fake_clock).call(threading.current_thread)
    assert thread is not None
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_it_is_waited_for_up_to_the_deadline_and_no_longer(fake_clock: FakeClock) -> None:
    let_go, threads = threading.Event(), []

    def hang() -> str:
        threads.append(threading.current_thread())
        fake_clock.wait_for_sleepers()
        fake_clock.advance(4.9)
        assert fake_clock.sleepers == 1, "it is still waited for"
        fake_clock.advance(0.1)
        assert let_go.wait(PATIENCE)
        return "late"

    deadline = TimeLimit(5, fake_clock)
    assert deadline.call(hang) is None
    assert deadline.passed == "it did not come back within 5 s"
    let_go.set()
    threads[0].join(PATIENCE)
    assert deadline.call(lambda: "the next") == "the next"


def test_the_machines_clock_measures_by_default() -> None:
    assert TimeLimit().seconds == 30
    let_go = threading.Event()
    assert TimeLimit(0.001).call(lambda: let_go.wait(PATIENCE)) is None
    let_go.set()
