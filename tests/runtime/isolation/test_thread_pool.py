"""Thread pool: concurrent calls, abandoned calls, and replaced threads."""

import threading

import pytest

from flowstone_core.runtime.isolation.thread_pool import Call, ThreadPool

PATIENCE = 300


class Work(Call):
    """Waits to be let go, and says what became of it."""

    __slots__ = ("_go", "ended", "error", "expirations", "running", "thread")

    def __init__(self, deadline=10.0, *, go=False, error=None):
        super().__init__(deadline)
        self.running = threading.Event()
        self._go = threading.Event()
        self.ended = threading.Event()
        self.expirations = 0
        self.error = error
        self.thread: threading.Thread | None = None
        if go:
            self.let_go()

    def let_go(self):
        self._go.set()

    def run(self):
        self.thread = threading.current_thread()
        self.running.set()
        assert self._go.wait(PATIENCE)
        self.ended.set()
        if self.error:
            raise self.error

    def expired(self):
        self.expirations += 1


@pytest.fixture
def pool_of(fake_clock):
    made = []

    def make(limit, stuck_limit=64):
        made.append(ThreadPool("test", fake_clock, limit, stuck_limit))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def started(*calls):
    return all(call.running.wait(PATIENCE) for call in calls)


def test_thread_pool_runs_at_most_limit_calls(pool_of):
    pool = pool_of(2)
    first, second, third = calls = [Work() for _ in range(3)]
    for call in calls:
        pool.submit(call)
    assert started(first, second)
    assert not third.running.is_set()
    first.let_go()
    assert started(third)
    second.let_go()
    third.let_go()
    assert third.ended.wait(PATIENCE)


def test_thread_pool_reuses_an_idle_thread(pool_of):
    pool = pool_of(8)
    names = set()
    for _ in range(20):
        call = Work(go=True)
        pool.submit(call)
        assert call.ended.wait(PATIENCE)
        names.add(call.thread)
    assert len(names) < 8


def test_thread_pool_expire_abandons_once_and_returns_the_wait(pool_of, fake_clock):
    pool = pool_of(2)
    assert pool.expire() is None
    short, long = Work(10), Work(25)
    pool.submit(short)
    pool.submit(long)
    assert started(short, long)
    assert pool.expire() == pytest.approx(10)
    fake_clock.advance(10)
    assert pool.expire() == pytest.approx(15)
    assert pool.expire() == pytest.approx(15)
    assert (short.expirations, long.expirations, pool.stuck) == (1, 0, 1)
    long.let_go()
    short.let_go()
    assert short.ended.wait(PATIENCE)


def test_thread_pool_replaces_a_stuck_thread_until_it_returns(pool_of, fake_clock):
    pool = pool_of(1)
    stuck, waiting = Work(5), Work(5, go=True)
    pool.submit(stuck)
    assert started(stuck)
    pool.submit(waiting)
    assert pool.expire() == pytest.approx(1.0)
    assert not waiting.running.is_set()
    fake_clock.advance(5)
    pool.expire()
    assert waiting.ended.wait(PATIENCE)
    assert pool.stuck == 1
    stuck.let_go()
    stuck.thread.join(PATIENCE)
    assert pool.stuck == 0
    assert waiting.thread != stuck.thread


def test_thread_pool_beyond_stuck_limit_has_fewer_threads(pool_of, fake_clock, caplog):
    pool = pool_of(2, stuck_limit=1)
    hung = [Work(5) for _ in range(3)]
    for call in hung[:2]:
        pool.submit(call)
    assert started(*hung[:2])
    fake_clock.advance(5)
    pool.expire()
    assert pool.stuck == 2
    assert caplog.messages == []
    pool.submit(hung[2])
    assert started(hung[2])
    fake_clock.advance(5)
    pool.expire()
    assert pool.stuck == 3
    (said,) = caplog.messages
    assert said.startswith("every thread hangs")
    held_up = Work(5, go=True)
    pool.submit(held_up)
    assert pool.expire() == pytest.approx(1.0)
    assert not held_up.running.is_set()
    hung[0].let_go()
    assert held_up.ended.wait(PATIENCE)
    for call in hung[1:]:
        call.let_go()


def test_thread_pool_survives_a_call_that_raises(pool_of, caplog):
    pool = pool_of(1)
    bad, good = Work(go=True, error=RuntimeError("a bug")), Work(go=True)
    pool.submit(bad)
    pool.submit(good)
    assert good.ended.wait(PATIENCE)
    assert "pool call raised an exception" in caplog.text


def test_thread_pool_threads_let_the_process_end(pool_of):
    pool = pool_of(1)
    call = Work()
    pool.submit(call)
    assert started(call)
    assert call.thread.daemon
    call.let_go()


def test_close_ends_idle_threads(fake_clock):
    pool = ThreadPool("closing", fake_clock, 1)
    call = Work(go=True)
    pool.submit(call)
    assert call.ended.wait(PATIENCE)
    pool.close()
    call.thread.join(PATIENCE)
    assert not call.thread.is_alive()
