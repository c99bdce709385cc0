"""Time limit of calls: results in time are returned, late ones are discarded."""

from __future__ import annotations

import threading

from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.testing import FakeClock

PATIENCE = 300


def test_call_runs_in_daemon_thread_and_returns_result(fake_clock: FakeClock) -> None:
    thread = TimeLimit(clock=fake_clock).call(threading.current_thread)
    assert thread is not None
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_call_past_its_limit_returns_none(fake_clock: FakeClock) -> None:
    let_go, threads = threading.Event(), []

    def hang() -> str:
        threads.append(threading.current_thread())
        fake_clock.wait_for_sleepers()
        fake_clock.advance(4.9)
        assert fake_clock.sleepers == 1, "it is still waited for"
        fake_clock.advance(0.1)
        assert let_go.wait(PATIENCE)
        return "late"

    limit = TimeLimit(5, fake_clock)
    assert limit.call(hang) is None
    assert limit.passed == "timed out after 5 s"
    let_go.set()
    threads[0].join(PATIENCE)
    assert limit.call(lambda: "the next") == "the next"


def test_time_limit_uses_system_clock_by_default() -> None:
    assert TimeLimit().seconds == 30
    let_go = threading.Event()
    assert TimeLimit(0.001).call(lambda: let_go.wait(PATIENCE)) is None
    let_go.set()
