"""The wait of `Flowstone.run` and `Flowstone.backfill` for a store that is not there."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta

import pytest

from flowstone_core import Flowstone, Pipeline
from flowstone_core.errors import StoreUnavailableError
from flowstone_core.runtime.coordination import clock_watch
from flowstone_core.store.runners import RunnerRepository
from flowstone_core.testing import FakeClock

REFUSED = "postgresql://nobody@127.0.0.1:1/shop?connect_timeout=2"


@pytest.fixture
def pipeline():
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    return pipeline


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def let_pass(clock, job):
    """Let the time pass until a job has ended; return the seconds that it took."""
    begin = clock.monotonic()
    while not job.done():
        with suppress(TimeoutError):
            clock.wait_for_sleepers(1, patience=0.1)
            clock.advance(1)
    return clock.monotonic() - begin


@pytest.mark.parametrize("once", [True, False])
def test_R4_stop_ends_the_wait_of_a_run_for_the_store(pipeline, pool, once):
    clock = FakeClock()
    with Flowstone(pipeline, store=REFUSED, clock=clock) as flow:
        running = pool.submit(flow.run, once=once)
        clock.wait_for_sleepers(1)
        flow.stop()
        assert running.result()


def test_R4_stop_ends_the_wait_of_a_backfill_for_the_store(pipeline, pool):
    clock = FakeClock()
    with Flowstone(pipeline, store=REFUSED, clock=clock) as flow:
        running = pool.submit(flow.backfill, "orders", date(2025, 1, 1), date(2025, 1, 2))
        clock.wait_for_sleepers(1)
        flow.stop()
        with pytest.raises(StoreUnavailableError, match="connection refused"):
            running.result()


def test_R4_stop_while_the_store_opens_ends_the_run(pipeline, store_url, monkeypatch):
    opened = clock_watch.open_store

    def stopping(*arguments):
        flow.stop()
        return opened(*arguments)

    monkeypatch.setattr(clock_watch, "open_store", stopping)
    with Flowstone(pipeline, store=store_url) as flow:
        assert flow.run()
        progress = flow.backfill("orders", date(2025, 1, 1), date(2025, 1, 2))
        assert progress.finished  # the store is open: nothing stopped it


def test_R4_duration_limits_the_wait_for_the_store(pipeline, pool):
    clock = FakeClock()
    with Flowstone(pipeline, store=REFUSED, clock=clock) as flow:
        running = pool.submit(flow.run, duration=timedelta(seconds=3))
        assert let_pass(clock, running) == 3
        with pytest.raises(StoreUnavailableError, match="gave up after 3s"):
            running.result()


@pytest.mark.parametrize("once", [True, False])
def test_R4_store_wait_is_for_the_whole_start(pipeline, pool, store_url, monkeypatch, once):
    gone, opened = StoreUnavailableError("the store is gone"), clock_watch.open_store
    left = [gone] * 4

    def open_late(*arguments):
        if left:
            raise left.pop()
        return opened(*arguments)

    def refuse(*_):
        raise gone

    monkeypatch.setattr(clock_watch, "open_store", open_late)
    monkeypatch.setattr(RunnerRepository, "register", refuse)
    clock = FakeClock()
    with Flowstone(pipeline, store=store_url, clock=clock, store_wait="6s") as flow:
        running = pool.submit(flow.run, once=once)
        assert let_pass(clock, running) == 6
        with pytest.raises(StoreUnavailableError, match="the store is gone; gave up after 6s"):
            running.result()
    assert not left
