"""A thread that cannot start, or no memory for a call: tried again, and nothing is lost."""

import threading
from datetime import timedelta

import pytest

from flowstone_core.errors import FlowstoneError
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.tick import TickOutcome
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.engine.held_attempts import RECOVER_SECONDS
from flowstone_core.runtime.isolation.thread_pool import Call, ThreadPool
from flowstone_core.runtime.periodic_thread import START_TRIES, PeriodicThread, start_thread
from flowstone_core.runtime.ticking.sensor_host import ThreadHost
from flowstone_core.testing import FakeClock
from tests.runtime.engine.workshop import LONG, Workshop
from tests.runtime.runner_house import PATIENCE, probe


class Full:
    """Refuses the start of threads with a prefix while it is on, as a full system does."""

    def __init__(self, monkeypatch, prefix):
        self.on = True
        self.refused = 0
        start = threading.Thread.start

        def limited(thread):
            if self.on and thread.name.startswith(prefix):
                self.refused += 1
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


class Noted(Call):
    def __init__(self):
        super().__init__(10)
        self.ran = threading.Event()

    def run(self):
        self.ran.set()

    def expired(self):
        raise AssertionError("it has not begun")


def test_S5_thread_pool_refused_thread_is_tried_again(monkeypatch, fake_clock, caplog):
    full = Full(monkeypatch, "test")
    pool = ThreadPool("test", fake_clock, 2)
    calls = [Noted() for _ in range(3)]
    for call in calls:
        pool.submit(call)
    for _ in range(2):
        assert pool.expire() == pytest.approx(1.0)
    assert pool.stuck == 0
    assert not any(call.ran.is_set() for call in calls)
    full.on = False
    pool.expire()
    assert all(call.ran.wait(PATIENCE) for call in calls)
    pool.close()
    assert full.refused > 1
    assert caplog.messages == [
        "cannot start a thread; trying again every second",
        "threads can be started again",
    ]


def test_S5_thread_pool_uses_the_threads_it_has(monkeypatch, fake_clock):
    pool = ThreadPool("test", fake_clock, 2)
    first, second = Noted(), Noted()
    pool.submit(first)
    assert first.ran.wait(PATIENCE)
    Full(monkeypatch, "test")
    pool.submit(second)
    pool.submit(third := Noted())
    assert second.ran.wait(PATIENCE)
    assert third.ran.wait(PATIENCE)
    pool.close()


def test_S5_runner_polls_all_once_threads_start_again(monkeypatch, house):
    full = Full(monkeypatch, "flowstone-poll")
    feeds = [house.sensor(name, probe()) for name in ("first", "second", "third")]
    runner = house.runner()
    runner.open()
    for _ in range(6):
        house.clock.advance(1)
        runner.step()
    assert [feed.polls for feed in feeds] == [0, 0, 0]
    full.on = False
    house.pass_time(runner, 1)
    assert [feed.polls for feed in feeds] == [1, 1, 1]
    house.pass_time(runner, 10)
    assert [feed.polls for feed in feeds] == [2, 2, 2]


def test_S5_runner_call_without_memory_is_tried_again(monkeypatch, house):
    feed = house.sensor("feed", probe())
    runner = house.runner()
    runner.open()
    submit, refusals = ThreadPool.submit, [MemoryError(), MemoryError()]

    def starved(pool, call):
        if refusals:
            raise refusals.pop()
        submit(pool, call)

    monkeypatch.setattr(ThreadPool, "submit", starved)
    for _ in range(2):
        house.clock.advance(5)
        with pytest.raises(MemoryError):
            runner.step()
    assert feed.polls == 0
    house.pass_time(runner, 5)
    assert feed.polls == 1


def test_S5_tick_without_memory_fails_and_is_polled_again(monkeypatch, house):
    feed = house.sensor("feed", probe(), backoff="1s")
    runner = house.runner()
    runner.open()
    tick, refusals = ThreadHost.tick, [MemoryError()]

    def starved(host, checkpoint):
        if refusals:
            raise refusals.pop()
        return tick(host, checkpoint)

    monkeypatch.setattr(ThreadHost, "tick", starved)
    house.pass_time(runner, 20)
    assert house.outcomes("feed") == [TickOutcome.FAILED, TickOutcome.NOT_TRIGGERED]
    assert feed.polls >= 1


@pytest.fixture
def workshop(store, fake_clock):
    workshop = Workshop(store, fake_clock)
    yield workshop
    for engine in workshop.engines:
        engine.stop(timedelta(0))


def test_S5_engine_runs_all_once_threads_start_again(monkeypatch, workshop):
    full = Full(monkeypatch, "flowstone-asset")
    workshop.asset(name="orders")(lambda context: None)
    numbers = [workshop.ask("orders", partition) for partition in ("eu", "us", "jp")]
    engine = workshop.engine()
    assert not engine.drain(timedelta(0))
    assert workshop.get(numbers[0]).state is MaterializationState.RUNNING
    full.on = False
    assert engine.drain(LONG)
    for number in numbers:
        assert workshop.outcomes(number) == [AttemptOutcome.COMPLETED]


def test_S5_engine_releases_what_it_cannot_start_when_it_stops(monkeypatch, workshop):
    calls = []
    full = Full(monkeypatch, "flowstone-asset")
    workshop.asset(name="orders")(calls.append)
    number = workshop.ask("orders")
    engine = workshop.engine()
    assert not engine.drain(timedelta(0))
    assert engine.stop(timedelta(0)), "nothing runs"
    full.on = False
    engine._pool.expire()
    assert workshop.outcomes(number) == []
    assert workshop.engine().drain(LONG)
    assert len(calls) == 1


def test_S5_engine_gives_back_what_has_no_memory(monkeypatch, workshop):
    workshop.asset(name="orders")(lambda context: None)
    numbers = [workshop.ask("orders", partition) for partition in ("eu", "us")]
    submit, refusals = ThreadPool.submit, [MemoryError()]

    def starved(pool, call):
        if refusals:
            raise refusals.pop()
        submit(pool, call)

    monkeypatch.setattr(ThreadPool, "submit", starved)
    before = workshop.clock.monotonic()
    workshop.engine().start()
    workshop.pass_time_until(lambda: all(workshop.get(each).state.ended for each in numbers))
    for number in numbers:
        assert workshop.outcomes(number) == [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED]
    assert workshop.clock.monotonic() < before + RECOVER_SECONDS


class Watching:
    def __init__(self, called):
        self.called = called

    def _call(self, event):
        self.called.append(event)

    def watchers(self, hook):
        return [("watcher", self._call)] if hook == "told" else []


def test_S5_hooks_are_called_once_their_thread_can_start(monkeypatch, caplog):
    called = []
    full = Full(monkeypatch, "flowstone-hooks")
    dispatcher = HookDispatcher(Watching(called))
    dispatcher.dispatch("told", event=1)
    assert called == []
    full.on = False
    dispatcher.dispatch("told", event=2)
    assert dispatcher.close(PATIENCE)
    assert called == [1, 2]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_S5_thread_of_a_runner_is_tried_again_at_its_start(monkeypatch, fake_clock, caplog):
    full = Full(monkeypatch, "flowstone-duty")
    stepped = threading.Event()
    loop = PeriodicThread("duty", stepped.set, fake_clock)
    starter = threading.Thread(target=loop.start)
    starter.start()
    fake_clock.wait_for_sleepers(1)
    full.on = False
    fake_clock.advance(1)
    assert stepped.wait(PATIENCE)
    starter.join(PATIENCE)
    loop.stop()
    assert caplog.messages == ["cannot start a thread; trying again every second", "thread started"]


def test_S5_start_fails_if_a_thread_is_refused_for_long(monkeypatch):
    class Passing(FakeClock):
        def waker(self):
            self.advance(1)
            return super().waker()

    full = Full(monkeypatch, "flowstone-duty")
    clock = Passing()
    loop = PeriodicThread("duty", lambda: None, clock)
    monkeypatch.setattr(type(clock.waker()), "wait", lambda waker, seconds: False)
    with pytest.raises(FlowstoneError, match="cannot start the thread flowstone-duty: RuntimeErr"):
        loop.start()
    assert full.refused == START_TRIES


def test_thread_that_was_started_before_is_not_tried_again(fake_clock):
    thread = threading.Thread(target=lambda: None)
    start_thread(thread, fake_clock)
    with pytest.raises(RuntimeError, match="once"):
        start_thread(thread, fake_clock)
