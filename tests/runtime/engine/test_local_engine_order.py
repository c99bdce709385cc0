"""Local engine: dependencies, threads, and waiting for the queue to drain."""

import threading
from collections import Counter
from datetime import timedelta

import pytest

from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import RetryLater, StoreError
from flowstone_core.runtime.engine.local_engine import CLAIM_SECONDS
from tests.runtime.engine.workshop import (
    COMPLETED,
    DISCARDED,
    LONG,
    PATIENCE,
    PENDING,
    RETRYING,
    RUNNING,
    Gate,
    Queue,
    locked,
    messages,
)

# -- what depends on what


@pytest.fixture
def diamond(workshop):
    """Four assets, each of which says what it was told about those it depends on."""
    order = []

    def make(context):
        order.append(context.asset)
        return {"of": context.asset, "from": sorted(context.upstream)}

    workshop.asset(name="raw")(make)
    workshop.asset(name="left", depends_on=["raw"])(make)
    workshop.asset(name="right", depends_on=["raw"])(make)
    workshop.asset(name="report", depends_on=["left", "right"])(make)
    return order


@pytest.mark.parametrize("threads", [1, 4])
def test_dependencies_run_first_and_once(workshop, diamond, threads):
    report = workshop.ask("report")
    engine = workshop.engine(threads=threads)
    assert engine.drain(LONG)
    assert Counter(diamond) == Counter(["raw", "left", "right", "report"])
    assert (diamond[0], diamond[3]) == ("raw", "report")
    assert workshop.get(report).metadata == {"of": "report", "from": ["left", "right"]}
    assert PENDING in {item.state for item in workshop.published if item.asset == "raw"}


def test_completed_dependency_is_not_run_again(workshop, diamond):
    workshop.ask("raw")
    workshop.run()
    workshop.ask("left")
    workshop.run()
    assert diamond == ["raw", "left"]


def test_followers_are_due_when_their_upstream_completes(workshop):
    made = []
    workshop.asset(name="raw")(lambda context: {"rows": 3})

    @workshop.asset(depends_on=["raw"], follow=True)
    def report(context):
        made.append((context.partition, context.upstream, context.events[0].source))

    for partition in ("eu", "us"):
        workshop.ask("raw", partition)
    assert workshop.engine().drain(LONG)
    assert sorted(made) == [
        ("eu", {"raw": {"rows": 3}}, "asset:raw"),
        ("us", {"raw": {"rows": 3}}, "asset:raw"),
    ]
    workshop.ask("raw", "eu")
    workshop.run()
    assert len(made) == 3


def test_dependents_of_a_discarded_one_are_discarded(workshop):
    @workshop.asset(max_attempts=1)
    def raw(context):
        raise OSError("gone")

    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    number = workshop.ask("report")
    assert workshop.engine().drain(LONG)
    ended = workshop.get(number)
    assert (ended.state, ended.attempt) == (DISCARDED, 0)
    assert "which it depends on, ended discarded" in ended.error
    assert workshop.states(number) == [DISCARDED]


def test_restart_releases_work_held_for_a_removed_dependency(workshop):
    workshop.asset(name="raw", max_attempts=2, backoff="1h")(lambda context: 1 / 0)
    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    number = workshop.ask("report")
    workshop.run()
    assert workshop.get(number).waiting_for
    workshop.pipeline = Pipeline("later")
    workshop.pipeline.asset(name="report")(lambda context: None)
    workshop.run()
    assert workshop.get(number).state is COMPLETED


# -- threads


def test_engine_runs_as_many_attempts_as_threads(workshop):
    together = threading.Barrier(3)
    at_once = []
    lock = threading.Lock()

    def orders(context):
        with lock:
            at_once.append(1)
            most = len(at_once)
        together.wait(PATIENCE)
        with lock:
            at_once.pop()
        return {"most": most}

    workshop.asset(name="orders")(orders)
    numbers = [workshop.ask("orders", f"tenant-{n}") for n in range(9)]
    engine = workshop.engine(threads=3)
    engine.start()
    assert engine.drain(LONG)
    made = [workshop.get(number) for number in numbers]
    assert {item.state for item in made} == {COMPLETED}
    assert max(item.metadata["most"] for item in made) == 3


def test_P1_hanging_attempt_does_not_delay_others(workshop):
    hanging = Gate()
    workshop.asset(name="hanging")(hanging)
    workshop.asset(name="orders")(lambda context: None)
    engine = workshop.engine(threads=2)
    engine.start()
    workshop.ask("hanging")
    engine.wake()
    assert hanging.running.wait(PATIENCE)
    numbers = [workshop.ask("orders", f"tenant-{n}") for n in range(5)]
    engine.wake()
    assert not drained_in(engine, workshop.clock, seconds=1)
    while any(workshop.get(number).state is not COMPLETED for number in numbers):
        assert engine.alive
    hanging.go.set()
    assert engine.drain(LONG)


def drained_in(engine, clock, seconds):
    """Drain in a thread of its own while so many seconds pass."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(engine.drain(timedelta(seconds=seconds))), daemon=True
    )
    sleepers = clock.sleepers
    thread.start()
    clock.wait_for_sleepers(sleepers + 1)
    clock.advance(seconds)
    thread.join(PATIENCE)
    (result,) = results
    return result


def test_partition_is_never_run_twice_at_once(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    engine = workshop.engine()
    engine.start()
    first = workshop.ask("orders")
    engine.wake()
    assert gate.running.wait(PATIENCE)
    second = workshop.ask("orders")
    assert first != second
    workshop.clock.wait_for_sleepers()
    engine.wake()
    workshop.clock.wait_for_sleepers()
    assert workshop.get(second).waiting_for == f"the previous run, #{first}"
    assert gate.calls == 1
    gate.go.set()
    assert engine.drain(LONG)
    assert gate.calls == 2


def test_engine_claims_commits_of_other_processes(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    engine = workshop.engine()
    engine.start()
    workshop.clock.wait_for_sleepers()
    workshop.ask("orders")
    workshop.clock.advance(CLAIM_SECONDS)
    assert gate.running.wait(PATIENCE)
    gate.go.set()
    assert engine.drain(LONG)


def test_retry_starts_when_due_not_at_the_next_claim(workshop):
    gate = Gate()
    gate.go.set()

    @workshop.asset
    def orders(context):
        if context.attempt == 1:
            raise RetryLater(0.25)
        return gate(context)

    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    while workshop.get(number).state is not RETRYING:
        assert engine.alive
    workshop.clock.wait_for_sleepers()
    workshop.clock.advance(0.25)
    assert gate.running.wait(PATIENCE)
    assert engine.drain(LONG)


# -- drain


def test_drain_waits_for_followers_and_leaves_later_ones(workshop):
    workshop.asset(name="raw")(lambda context: None)

    @workshop.asset(depends_on=["raw"], follow=True)
    def report(context):
        raise RetryLater(60)

    workshop.asset(name="mail", depends_on=["report"])(lambda context: None)
    workshop.ask("mail")
    raw = [workshop.ask("raw", f"tenant-{n}") for n in range(5)]
    engine = workshop.engine()
    engine.start()
    assert engine.drain(LONG)
    assert {workshop.get(number).state for number in raw} == {COMPLETED}
    reports = workshop.store.materializations.latest(asset="report")
    assert {report.state for report in reports} == {RETRYING}
    assert len(reports) == 6
    (mail,) = workshop.store.materializations.latest(asset="mail")
    assert (mail.state, mail.available_at) == (PENDING, None)


@pytest.mark.parametrize("drain", [True, False])
def test_drain_releases_more_than_one_claim_holds_back(workshop, drain, monkeypatch):
    monkeypatch.setattr("flowstone_core.store.claims.CANDIDATE_LIMIT", 1)
    workshop.asset(name="raw")(lambda context: None)
    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    for n in range(5):
        workshop.ask("report", f"tenant-{n}")
    engine = workshop.engine()
    assert engine.drain() if drain else engine.run_once() == 10
    assert workshop.store.materializations.counts()[COMPLETED] == 10


def test_drain_without_work_returns_at_once(workshop):
    assert workshop.engine().drain()


def test_drain_returns_after_all_publications(workshop):
    workshop.asset(name="orders")(lambda context: None)
    engine = workshop.engine()
    engine.start()
    for round_ in range(20):
        number = workshop.ask("orders", f"tenant-{round_}")
        assert engine.drain(LONG)
        assert workshop.states(number) == [RUNNING, COMPLETED]


def test_drain_resumes_after_a_store_outage(workshop, caplog):
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    queue = Queue(workshop.store.queue, claim=[locked()])
    engine = workshop.engine(queue)
    results = []
    thread = threading.Thread(target=lambda: results.append(engine.drain()), daemon=True)
    thread.start()
    assert queue.failed.wait(PATIENCE)
    workshop.pass_time_until(lambda: results)
    assert results == [True]
    assert workshop.get(number).state is COMPLETED
    assert messages(caplog) == [
        "cannot claim materializations",
        "claiming of materializations resumed",
    ]


def test_drain_raises_if_the_store_refuses(workshop):
    engine = workshop.engine(Queue(workshop.store.queue, claim=[StoreError("it is read-only")]))
    with pytest.raises(StoreError, match="read-only"):
        engine.drain()
