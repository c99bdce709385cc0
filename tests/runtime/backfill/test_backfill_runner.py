"""Backfill runner: live runners run the attempts; without one this process does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pluggy
import pytest

from flowstone_core import Flowstone, Pipeline, hookimpl
from flowstone_core.errors import (
    NotFoundError,
    StoreError,
    StoreLostError,
    StoreUnavailableError,
    ValidationError,
)
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.partition_range import partition_range
from flowstone_core.plugin import hookspecs
from flowstone_core.plugin.registry import Plugins
from flowstone_core.runtime.backfill.backfill import Progress
from flowstone_core.runtime.backfill.backfill_runner import BackfillLimits, BackfillRunner
from flowstone_core.runtime.backfill.plan import PartitionAction
from flowstone_core.runtime.coordination.retirement import machine_id
from flowstone_core.store import Store
from flowstone_core.testing import FakeClock

PATIENCE = 300
RANGE = date(2025, 1, 1), date(2025, 1, 10)


@pytest.fixture
def made():
    """The partitions that were made, each as often as its function ran."""
    return []


@pytest.fixture
def pipeline(made):
    pipeline = Pipeline("shop")

    @pipeline.asset
    def orders(context):
        made.append(context.partition)
        return {"made": str(context.partition)}

    @pipeline.asset(depends_on=["orders"])
    def report(context):
        return context.upstream["orders"]

    return pipeline


@pytest.fixture
def make(pipeline, store_url):
    """A function that makes a Flowstone on the same store."""
    opened = []

    def make(**options):
        opened.append(Flowstone(pipeline, store=store_url, **options))
        return opened[-1]

    yield make
    for flow in opened:
        flow.close()


@pytest.fixture
def flow(make):
    return make()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def runner(name, now, **options):
    values = {"host": "elsewhere", "pid": 7, "machine": "elsewhere", "version": "0.1"} | options
    return RunnerInfo(name, started_at=now, lease_until=now + timedelta(seconds=30), **values)


def test_backfill_without_a_live_runner_runs_attempts_itself(flow):
    seen = []
    progress = flow.backfill("orders", *RANGE, watch=seen.append)
    assert (progress.total, progress.completed, progress.finished, progress.here) == (
        10,
        10,
        True,
        True,
    )
    assert seen[-1] == progress
    assert [item.done for item in seen] == sorted(item.done for item in seen)
    assert all(before != after for before, after in pairwise(seen))
    assert max(item.unfinished for item in seen) == 4
    assert {item.metadata["made"] for item in flow.materializations.latest()} == {
        f"2025-01-{day:02}" for day in range(1, 11)
    }
    assert flow.status().runners == ()


def test_backfill_materializes_dependencies_too(flow):
    assert flow.backfill("report", *RANGE, every="week").completed == 2
    completed = flow.materializations.latest(state=MaterializationState.COMPLETED)
    assert sorted((item.asset, item.partition) for item in completed) == [
        ("orders", "d:2025-01-01"),
        ("orders", "d:2025-01-08"),
        ("report", "d:2025-01-01"),
        ("report", "d:2025-01-08"),
    ]


def test_backfill_with_nothing_to_do_is_not_a_runner(flow, store):
    assert flow.backfills.plan("orders", *RANGE).count(PartitionAction.MATERIALIZE) == 10
    flow.backfill("orders", *RANGE)
    assert flow.backfills.plan("orders", *RANGE).count(PartitionAction.SKIP) == 10
    assert (
        flow.backfills.plan("orders", *RANGE, force=True).count(PartitionAction.MATERIALIZE) == 10
    )
    progress = flow.backfill("orders", *RANGE)
    assert (progress.backfill, progress.skipped, progress.here) == (2, 10, False)
    assert len(store.runners.all()) == 1


def test_threads_with_a_concurrent_first_access_share_one_store(flow, monkeypatch):
    opened = []
    original = Store.open
    monkeypatch.setattr(Store, "open", lambda url: opened.append(url) or original(url))
    begin = threading.Barrier(8)

    def look():
        begin.wait(PATIENCE)
        return flow.status()

    with ThreadPoolExecutor(8) as threads:
        for job in [threads.submit(look) for _ in range(8)]:
            assert job.result().runners == ()
    assert len(opened) == 1


def test_backfill_leaves_attempts_to_a_live_runner(make, store, pool):
    running = make()
    job = pool.submit(running.run)
    try:
        while not running.status().runners:
            assert not job.done() or job.result()
        seen = []
        progress = make().backfill("orders", *RANGE, force=True, watch=seen.append)
    finally:
        running.stop()
    assert progress.completed == 10
    assert not any(item.here for item in seen)
    assert job.result(PATIENCE)
    assert len(store.runners.all()) == 1


def test_backfill_becomes_a_runner_when_the_last_lease_expires(make, store, pool):
    clock = FakeClock()
    store.runners.register(runner("gone", clock.now()))
    seen = []
    job = pool.submit(make(clock=clock).backfill, "orders", *RANGE, watch=seen.append)
    for _ in range(30):
        clock.wait_for_sleepers(1)
        assert not any(item.here for item in seen)
        clock.advance(1)
    progress = job.result(PATIENCE)
    assert (progress.completed, progress.here) == (10, True)


def test_backfill_does_not_wait_for_a_dead_runner_of_this_machine(flow, store):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    now = flow._clock.now()
    store.runners.register(runner("gone", now, machine=machine_id(), pid=gone.pid))
    assert flow.backfill("orders", *RANGE).here


def test_backfill_stopped_returns_progress_and_continues_later(flow, made):
    def watch(progress):
        if progress.done >= 3:
            flow.stop()

    progress = flow.backfill("orders", *RANGE, limit=2, watch=watch)
    assert not progress.finished
    assert 3 <= progress.done < 10
    assert len(flow.materializations.latest()) == progress.total - progress.left
    assert flow.status().runners == ()
    following = flow.backfill("orders", *RANGE)
    assert (following.backfill, following.resumed, following.completed) == (1, True, 10)
    assert sorted(made) == list(partition_range(*RANGE))


def test_backfill_watcher_that_raises_leaves_nothing_running(flow):
    def watch(progress):
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError):
        flow.backfill("orders", *RANGE, watch=watch)
    assert flow.status().runners == ()


def test_backfill_with_invalid_arguments_begins_nothing(flow):
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        flow.backfill("order", *RANGE)
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        flow.backfills.plan("order", *RANGE)
    with pytest.raises(ValidationError, match="is after the last"):
        flow.backfill("orders", *RANGE[::-1])
    with pytest.raises(ValidationError, match="from 1 to 1,000"):
        flow.backfill("orders", *RANGE, limit=0)
    assert not flow.backfill("orders", *RANGE).resumed


class Watcher:
    """A plugin that keeps what it is told of runners."""

    def __init__(self):
        self.told = []

    @hookimpl
    def flowstone_runner_started(self, runner):
        self.told.append(("started", runner.pid))

    @hookimpl
    def flowstone_runner_stopping(self, runner):
        self.told.append(("stopping", runner.pid))

    @hookimpl
    def flowstone_materialization_changed(self, materialization):
        self.told.append(materialization.state.value)


def test_backfill_calls_the_runner_hooks(flow):
    manager = pluggy.PluginManager("flowstone")
    manager.add_hookspecs(hookspecs)
    watcher = Watcher()
    manager.register(watcher)
    flow.project = replace(flow.project, plugins=Plugins(_manager=manager))
    flow.backfill("orders", RANGE[0], RANGE[0])
    pid = os.getpid()
    assert watcher.told == [("started", pid), "running", "completed", ("stopping", pid)]


class Scripted:
    """Stands in for a backfill: each step returns, or raises, the next thing of a list."""

    def __init__(self, *steps):
        self._steps = list(steps)
        self.asked = []

    def step(self, *, may_ask):
        self.asked.append(may_ask())
        following = self._steps.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    def leave(self):
        self.asked.append("leave")
        raise GONE


GONE = StoreUnavailableError("the store is gone for a moment")
BEGUN = Progress(backfill=1, resumed=False, total=2, unfinished=2)
HALF = replace(BEGUN, completed=1, unfinished=1)
LIMITS = BackfillLimits(grace=timedelta(0), store_wait=timedelta(seconds=3))
DONE = replace(BEGUN, completed=2, unfinished=0, finished=True)


def run_backfill(backfill, store, pool, watch=lambda _: None):
    """Run it while another runner is alive; let time pass until it ends."""
    clock = FakeClock()
    lasting = replace(runner("one", clock.now()), lease_until=clock.now().replace(year=2030))
    store.runners.register(lasting)
    job = pool.submit(BackfillRunner(backfill, store, clock, no_engine, LIMITS).run, watch)
    while not job.done():
        with suppress(TimeoutError):
            clock.wait_for_sleepers(1, patience=0.1)
            clock.advance(1)
    return job.result()


def no_engine(_):
    raise AssertionError("a runner is alive")


def test_backfill_waits_for_an_unavailable_store(store, pool, caplog):
    seen = []
    backfill = Scripted(BEGUN, GONE, GONE, HALF, HALF, GONE, DONE)
    assert run_backfill(backfill, store, pool, seen.append) == DONE
    assert seen == [BEGUN, HALF, DONE]
    said = [record for record in caplog.records if record.name == "flowstone.backfill"]
    paused, resumed = said[::2], said[1::2]
    assert [record.error for record in paused] == ["the store is gone for a moment"] * 2
    assert [record.getMessage() for record in resumed] == [
        "store available again; backfill resumed"
    ] * 2
    assert {record.levelno for record in said} == {logging.WARNING}


def test_R4_backfill_waits_for_the_store_at_its_start(store, pool, caplog):
    assert run_backfill(Scripted(GONE, GONE, DONE), store, pool) == DONE
    assert caplog.messages == ["store unavailable; trying again every second", "store available"]


def test_R4_backfill_stopped_before_its_start_raises(store):
    store.runners.register(runner("one", FakeClock().now()))
    runner_ = BackfillRunner(Scripted(GONE), store, FakeClock(), no_engine, LIMITS)
    runner_.stop()
    with pytest.raises(StoreUnavailableError, match="gone for a moment"):
        runner_.run(lambda _: None)


def test_backfill_raises_if_the_store_cannot_be_used(store, pool):
    with pytest.raises(StoreUnavailableError, match="gave up after 3s"):
        run_backfill(Scripted(*[GONE] * 4), store, pool)
    with pytest.raises(StoreError, match="refused"):
        run_backfill(Scripted(BEGUN, StoreError("refused")), store, pool)
    with pytest.raises(StoreLostError, match="deleted"):
        run_backfill(Scripted(BEGUN, StoreLostError("deleted")), store, pool)


def test_D4_backfill_with_deleted_store_does_not_wait_for_attempts(tmp_path, pool):
    begun, go = threading.Event(), threading.Event()
    pipeline = Pipeline("slow")

    @pipeline.asset
    def orders(context):
        begun.set()
        go.wait()

    path = tmp_path / "flowstone.db"
    with Flowstone(pipeline, store=f"sqlite:///{path}", grace="1d") as flow:
        job = pool.submit(flow.backfill, "orders", *RANGE)
        assert begun.wait(PATIENCE)
        path.unlink()
        with pytest.raises(StoreLostError, match="was deleted"):
            job.result(PATIENCE)
        go.set()


def test_backfill_stopped_asks_for_no_more_and_steps_once(store, pool):
    def run(*last):
        backfill = Scripted(BEGUN, *last)
        runner_ = BackfillRunner(backfill, store, FakeClock(), no_engine, LIMITS)
        # In this thread nobody lets time pass: only the stop ends the wait.
        return runner_.run(lambda _: runner_.stop()), backfill.asked

    store.runners.register(runner("one", FakeClock().now()))
    # It notes that it leaves the backfill; a store that is gone is no reason to fail then.
    assert run(HALF) == (HALF, [True, False, "leave"])
    assert run(GONE) == (BEGUN, [True, False, "leave"])
