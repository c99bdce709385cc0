"""Threads and processes at once: nothing is lost, doubled, or left waiting."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from flowstone_core.errors import ConflictError, StaleAttemptError
from flowstone_core.model.attempt_result import succeed
from flowstone_core.store import Store, sql_engines
from tests.attempt_ends import finish


@pytest.fixture
def race(store_url, monkeypatch):
    """Run functions at once, each in a thread and with a store of its own, as processes have."""
    # SQLite has no queue of writers: of four that write without a pause one may wait for long on
    # a busy machine. A runner would try again after its time-out; these tests ask for order only.
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 120_000)

    def run(*functions):
        begin = threading.Barrier(len(functions))

        def call(function, store):
            begin.wait(60)
            return function(store)

        with ExitStack() as stack, ThreadPoolExecutor(len(functions)) as pool:
            stores = [stack.enter_context(closing(Store.open(store_url))) for _ in functions]
            jobs = [pool.submit(call, *pair) for pair in zip(functions, stores, strict=True)]
            return [job.result() for job in jobs]

    return run


def test_each_materialization_is_claimed_once(bench, race):
    for number in range(120):
        bench.ask("orders", f"p{number}")

    def claim(store):
        found = []
        while claims := store.queue.claim("one", 7, bench.assets, bench.now).claims:
            found += [item.materialization.id for item in claims]
        return found

    found = race(*[claim] * 4)
    numbers = Counter(number for part in found for number in part)
    # On PostgreSQL a claimer passes over what another one looks at, so one may end early, but
    # whoever holds the row claims it.
    assert len(numbers) == 120
    assert set(numbers.values()) == {1}
    assert {item.attempt for item in bench.store.materializations.latest(limit=200)} == {1}


def test_many_runners_materialize_each_partition_once(bench, race):
    partitions = [f"p{number}" for number in range(12)]
    for partition in partitions:
        bench.ask("report", partition)
        bench.ask("mail", partition)

    def work(store):
        for _ in range(10_000):
            for claim in store.queue.claim("one", 3, bench.assets, bench.now).claims:
                finish(store.queue, claim, succeed({"made": True}), bench.assets, bench.now)
            if store.queue.unfinished(bench.assets) == 0:
                return
        raise AssertionError("something waits for ever")

    race(*[work] * 4)
    made = Counter(
        (item.asset, item.partition) for item in bench.store.materializations.latest(limit=999)
    )
    for partition in partitions:
        for asset in ("orders", "items", "clean", "report"):
            assert made[asset, partition] == 1
        assert made["mail", partition] in {1, 2}
        assert made["chart", partition] in {1, 2}
    assert bench.store.materializations.counts()["completed"] == sum(made.values())


def test_no_event_is_lost_between_one_that_starts_and_the_next_one(bench, race):
    count = 60

    def fire(store):
        for number in range(count):
            commit = bench.tick("feed", bench.event(f"k{number}"), version=number + 1)
            (result,) = store.ticks.commit("one", [commit], bench.assets, bench.now)
            assert result.committed
            bench.checkpoint["feed"] = commit.after

    def work(store):
        seen = []
        for _ in range(10_000):
            for claim in store.queue.claim("one", 3, bench.assets, bench.now).claims:
                if claim.materialization.asset == "orders":
                    seen += [event.key for event in claim.events]
                finish(store.queue, claim, succeed(None), bench.assets, bench.now)
            if len(store.events.latest(source="sensor:feed", limit=count)) == count and (
                store.queue.unfinished(bench.assets) == 0
            ):
                return seen
        raise AssertionError("something waits for ever")

    _, *seen = race(fire, work, work)
    keys = Counter(key for part in seen for key in part)
    assert set(keys) == {f"k{number}" for number in range(count)}
    assert set(keys.values()) == {1}


def test_of_the_same_tick_committed_by_several_one_is_committed(bench, race):
    commit = bench.tick("feed", *(bench.event(f"k{number}") for number in range(20)))

    def write(store):
        (result,) = store.ticks.commit("one", [commit], bench.assets, bench.now)
        return result.committed

    assert sorted(race(*[write] * 4)) == [False, False, False, True]
    assert len(bench.store.events.latest(limit=100)) == 20
    assert len(bench.store.ticks.latest()) == 1


def test_sensors_that_feed_the_same_partitions_in_different_orders(bench, race):
    events = [bench.event(f"k{number}", partition=f"p{number}") for number in range(200)]

    def write(name, order):
        def run(store):
            commit = bench.tick(name, *order)
            (result,) = store.ticks.commit("one", [commit], bench.assets, bench.now)
            return len(result.events)

        return run

    assert race(write("feed", events), write("drop", events[::-1])) == [200, 200]
    assert len(bench.store.materializations.latest(limit=999)) == 200


def test_each_sensor_is_claimed_by_one_runner(bench, race):
    names = [f"sensor-{number:03}" for number in range(300)]
    bench.store.sensors.declare(names, bench.now)
    runners = ["two", "three", "four"]
    for runner in runners:
        bench.runner(runner)

    def claim(runner, order):
        return lambda store: set(store.sensors.claim(runner, order, bench.now))

    orders = [names, names[::-1], names[150:] + names[:150]]
    found = race(*(claim(runner, order) for runner, order in zip(runners, orders, strict=True)))
    taken = Counter(name for part in found for name in part)
    assert set(taken.values()) == {1}
    owners = {record.name: record.owner for record in bench.store.sensors.all(names)}
    for runner, part in zip(runners, found, strict=True):
        assert {owners[name] for name in part} <= {runner}
    # What one passed over because another looked at it is still free, or taken.
    rest = bench.store.sensors.claim(
        "two", bench.store.survey("two", bench.now).sensors.free, bench.now
    )
    assert set(taken) | set(rest) == set(names)


def test_sensors_declared_by_several_at_once_are_there_once(bench, race):
    names = [f"sensor-{number:03}" for number in range(300)]
    orders = [names, names[::-1]]
    race(*(lambda store, o=order: store.sensors.declare(o, bench.now) for order in orders))
    assert len(bench.store.sensors.all(names)) == 300


def test_an_attempt_ends_once_whoever_ends_it(bench, race):
    for number in range(10):
        bench.ask("alone", f"p{number}")
        (claim,) = bench.claim().claims

        def end(store, claim=claim):
            try:
                finish(store.queue, claim, succeed(None), bench.assets, bench.now)
            except StaleAttemptError:
                return "stale"
            return "completed"

        def cancel(store, claim=claim):
            try:
                store.materializations.cancel(claim.materialization.id, bench.assets, bench.now)
            except ConflictError:
                return "conflict"
            return "cancelled"

        ends = race(end, cancel)
        assert ends in (["completed", "conflict"], ["stale", "cancelled"])
        assert bench.get(claim.materialization.id).state in ends


def test_request_and_retry_at_once_leave_one_pending(bench, race):
    for number in range(10):
        partition = f"p{number}"
        bench.ask("alone", partition)
        gone = bench.discard(bench.claimed()["alone"])[0]

        def retry(store, gone=gone):
            try:
                store.materializations.retry(gone.id, bench.assets, bench.now)
            except ConflictError:
                return False
            return True

        def ask(store, partition=partition):
            asset = bench.assets["alone"]
            return store.materializations.materialize(asset, partition, bench.assets, bench.now)[
                1
            ].id

        retried, asked = race(retry, ask)
        assert retried == (asked == gone.id)
        assert set(bench.claimed()) == {"alone"}


def test_the_dead_are_taken_over_once(bench, race):
    for number in range(30):
        bench.ask("items", f"p{number}")
    bench.claim(runner_id="ghost")
    found = race(*[lambda store: store.queue.recover(bench.now)] * 3)
    numbers = Counter(item.id for part in found for item in part)
    assert len(numbers) == 30
    assert set(numbers.values()) == {1}
