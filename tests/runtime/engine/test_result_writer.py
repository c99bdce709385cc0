"""Results of attempts that end together, and attempts claimed ahead."""

import queue
import threading
from datetime import timedelta

import pytest

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.materialization import AttemptOutcome
from flowstone_core.runtime.engine.asset_host import ChildPool
from flowstone_core.runtime.engine.claim_ahead import AHEAD_LIMIT, AHEAD_SECONDS, ClaimAhead
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.engine.result_writer import ResultWriter
from tests.runtime.engine.workshop import (
    COMPLETED,
    DISCARDED,
    LONG,
    PATIENCE,
    RETRYING,
    RUNNING,
    Gate,
    Queue,
    messages,
)

COUNT = 4


class Groups(Queue):
    """A queue that holds the first result back until the others are there."""

    def __init__(self, workshop, error=None):
        super().__init__(workshop.store.queue)
        self.error = error
        self.go = threading.Event()
        self.first = threading.Event()
        self.groups = []

    def finish(self, ends, *args):
        names = sorted(end.claim.materialization.partition for end in ends)
        self.groups.append(names)
        if len(self.groups) == 1:
            self.first.set()
            assert self.go.wait(PATIENCE)
        if self.error is not None and "bad" in names and ends[0].result.state is COMPLETED:
            raise self.error
        return self.queue.finish(ends, *args)


def end_together(workshop, queue, *partitions):
    """Let attempts end while the result of another one is written; return their numbers."""
    together = threading.Barrier(len(partitions) + 1)

    @workshop.asset(max_attempts=1)
    def orders(context):
        if context.partition != "first":
            together.wait(PATIENCE)

    workshop.ask("orders", "first")
    numbers = [workshop.ask("orders", partition) for partition in partitions]
    engine = workshop.engine(queue, threads=len(partitions) + 1)
    engine.start()
    assert queue.first.wait(PATIENCE)
    together.wait(PATIENCE)
    while len(engine._writer._ended) < len(partitions):
        assert engine.alive
    queue.go.set()
    assert engine.drain()
    return numbers


def test_results_that_end_together_share_one_transaction(workshop):
    queue = Groups(workshop)
    numbers = end_together(workshop, queue, "a", "b", "c")
    assert queue.groups == [["first"], ["a", "b", "c"]]
    for number in numbers:
        assert workshop.get(number).state is COMPLETED
        assert workshop.states(number) == [RUNNING, COMPLETED]


def test_result_refused_in_a_group_fails_only_its_own_attempt(workshop, caplog):
    queue = Groups(workshop, ValueError("no such column"))
    good, bad, other = end_together(workshop, queue, "a", "bad", "c")
    assert queue.groups[:2] == [["first"], ["a", "bad", "c"]]
    assert sorted(queue.groups[2:]) == [["a"], ["bad"], ["bad"], ["c"]]
    assert workshop.get(good).state is workshop.get(other).state is COMPLETED
    assert (workshop.get(bad).state, workshop.get(bad).error) == (
        DISCARDED,
        "ValueError: no such column",
    )
    assert messages(caplog) == ["cannot store a result", "attempt failed"]


def test_group_without_a_store_is_written_when_there_is_one(workshop, caplog):
    queue = Groups(workshop)
    lost = [StoreUnavailableError("connection lost"), StoreUnavailableError("not yet")]
    written = queue.queue.finish

    class Away:
        def __getattr__(self, name):
            return getattr(workshop.store.queue, name)

        def finish(self, *args):
            if len(queue.groups) > 1 and lost:
                raise lost.pop()
            return written(*args)

    queue.queue = Away()
    moving = threading.Event()

    def pass_time():
        while not moving.is_set():
            if lost != [] or workshop.clock.sleepers:
                workshop.clock.advance(1)

    thread = threading.Thread(target=pass_time, daemon=True)
    thread.start()
    try:
        numbers = end_together(workshop, queue, "a", "b")
    finally:
        moving.set()
        thread.join(PATIENCE)
    assert {workshop.get(number).state for number in numbers} == {COMPLETED}
    assert messages(caplog) == [
        "cannot store the result of an attempt; trying again until it is stored",
        "result of an attempt stored after a delay",
    ]


# -- what is claimed ahead


@pytest.mark.parametrize(
    ("durations", "allowed"),
    [
        ([], 0),
        ([0.0], AHEAD_LIMIT),
        ([AHEAD_SECONDS], 2),
        ([AHEAD_SECONDS * 3], 0),
        ([60.0, 0.0, 0.0], 0),
        ([1.0, *[0.0] * 200], AHEAD_LIMIT),
    ],
)
def test_as_much_is_claimed_ahead_as_starts_at_once(durations, allowed):
    ahead = ClaimAhead()
    for seconds in durations:
        ahead.note(seconds)
    assert ahead.allowed(2) == allowed
    assert ahead.allowed(0) == 0


class Fifo:
    """One thread that is kept by a gate, with others claimed ahead behind it."""

    def __init__(self, workshop, **options):
        self.workshop = workshop
        self.gate = Gate()

        @workshop.asset
        def orders(context):
            return self.gate(context) if context.partition == "gate" else None

        self.engine = workshop.engine(threads=1, **options)
        self.engine.start()
        workshop.ask("orders", "short")
        self.engine.wake()
        assert self.engine.drain(LONG)
        self.first = workshop.ask("orders", "gate")
        self.behind = [workshop.ask("orders", f"behind-{n}") for n in range(COUNT)]
        self.engine.wake()
        assert self.gate.running.wait(PATIENCE)
        while self.states() != {RUNNING}:  # claimed with the first one, or a moment later
            assert self.engine.alive

    def states(self):
        return {self.workshop.get(number).state for number in self.behind}


def test_attempts_claimed_ahead_are_given_back_at_once_by_stop(workshop):
    fifo = Fifo(workshop)
    thread = threading.Thread(target=fifo.engine.stop, args=(LONG,), daemon=True)
    thread.start()
    while fifo.states() != {RETRYING}:
        assert thread.is_alive()
    assert workshop.get(fifo.first).state is RUNNING
    fifo.gate.go.set()
    thread.join(PATIENCE)
    assert workshop.get(fifo.first).state is COMPLETED
    for number in fifo.behind:
        assert workshop.outcomes(number) == []


def test_attempts_claimed_ahead_do_not_wait_for_a_long_one(workshop):
    fifo = Fifo(workshop)
    workshop.pass_time_until(lambda: fifo.states() == {RETRYING})
    other = workshop.engine(threads=1)
    assert other.run_once() == COUNT
    assert fifo.states() == {COMPLETED}
    fifo.gate.go.set()
    assert fifo.engine.drain(LONG)
    assert workshop.get(fifo.first).state is COMPLETED
    assert fifo.gate.calls == 1


def test_attempts_claimed_ahead_run_in_their_order(workshop):
    fifo = Fifo(workshop)
    fifo.gate.go.set()
    assert fifo.engine.drain(LONG)
    assert fifo.states() == {COMPLETED}
    for number in fifo.behind:
        assert workshop.outcomes(number) == [AttemptOutcome.COMPLETED]


def test_nothing_is_claimed_ahead_of_long_attempts(workshop):
    workshop.asset(name="slow")(lambda context: workshop.clock.advance(timedelta(seconds=10)))
    asked = []

    class Asked(Queue):
        def claim(self, runner_id, limit, assets, now, ahead):
            asked.append((limit, ahead))
            return self.queue.claim(runner_id, limit, assets, now, ahead)

    for n in range(COUNT):
        workshop.ask("slow", f"p{n}")
    engine = workshop.engine(Asked(workshop.store.queue), threads=1)
    engine.start()
    assert engine.drain(LONG)
    assert {ahead for _, ahead in asked} == {0}


def test_attempt_claimed_ahead_does_not_start_without_a_lease(workshop):
    leased = [True]
    fifo = Fifo(workshop, may_claim=lambda: bool(leased))
    leased.clear()
    fifo.gate.go.set()
    while len(fifo.engine._held):
        assert fifo.engine.alive
    assert workshop.get(fifo.first).state is COMPLETED
    assert fifo.states() == {RUNNING}
    leased.append(True)
    fifo.engine.wake()
    assert fifo.engine.drain(LONG)
    for number in fifo.behind:
        assert workshop.outcomes(number) == [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED]


# -- outages


class Writing:
    """A result writer without an engine, and a store that is away."""

    def __init__(self, workshop):
        workshop.asset(name="orders")(lambda context: None)
        self.workshop = workshop
        self.tried = queue.SimpleQueue()
        self.away = True
        self.refused = []
        self.over = []
        self.setup = workshop.engine(self).setup
        self.writer = ResultWriter(self.setup, self.over.extend)
        self.writer.start()

    def __getattr__(self, name):
        return getattr(self.workshop.store.queue, name)

    def finish(self, ends, *args):
        self.tried.put(len(ends))
        if self.away:
            raise StoreUnavailableError("connection lost")
        if self.refused:
            raise self.refused.pop()
        return self.workshop.store.queue.finish(ends, *args)

    def end(self, partition):
        """End an attempt; its result waits for the writer."""
        self.workshop.ask("orders", partition)
        setup = self.setup
        (claim,) = setup.queue.claim(setup.runner_id, 1, setup.assets, setup.clock.now()).claims
        execution = Execution(claim, setup, self.writer.put, ChildPool(str))
        execution.run()
        return execution

    def wait_for_back_off(self):
        while not self.workshop.clock.sleepers:
            assert self.writer._thread.is_alive()


def test_new_results_of_an_outage_wait_for_the_next_try(workshop):
    writing = Writing(workshop)
    writing.end("first")
    assert writing.tried.get(timeout=PATIENCE) == 1
    for number in range(COUNT):
        writing.wait_for_back_off()
        writing.end(f"p{number}")
    writing.wait_for_back_off()
    assert writing.tried.empty()
    writing.away = False
    writing.writer.retry()
    assert writing.tried.get(timeout=PATIENCE) == COUNT + 1
    writing.writer.close()
    writing.writer._thread.join(PATIENCE)
    assert len(writing.over) == COUNT + 1


def test_result_given_up_while_it_is_tried_ends_its_writer(workshop):
    writing = Writing(workshop)
    execution = writing.end("first")
    assert writing.tried.get(timeout=PATIENCE) == 1
    writing.wait_for_back_off()
    # As if the writer had looked for results that are given up just before.
    execution.given_up = True
    writing.writer.close()
    writing.writer._thread.join(PATIENCE)
    assert not writing.writer._thread.is_alive()
    assert writing.over == [execution]
    assert writing.tried.empty()


def test_refused_result_does_not_delay_those_after_it(workshop):
    writing = Writing(workshop)
    writing.away = False
    refused = [ValueError("no such column"), ValueError("no such column")]
    writing.refused = refused
    writing.end("refused")
    writing.wait_for_back_off()
    writing.end("next")
    while len(writing.over) < 1:
        assert writing.writer._thread.is_alive()
    assert [execution.claim.materialization.partition for execution in writing.over] == ["next"]
    writing.writer.close()
    writing.writer._thread.join(PATIENCE)
    assert len(writing.over) == 2


def test_results_of_an_outage_are_stored_when_claims_succeed(workshop):
    away = threading.Event()
    failed = set()

    class Away(Queue):
        def __getattr__(self, name):
            if away.is_set():
                failed.add(name)
                raise StoreUnavailableError("connection lost")
            return getattr(self.queue, name)

    gate = Gate()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    engine = workshop.engine(Away(workshop.store.queue), threads=2)
    engine.start()
    assert gate.running.wait(PATIENCE)
    away.set()
    engine.wake()
    gate.go.set()
    while not engine._outage.on or not engine._writer._again:
        assert engine.alive
    away.clear()
    engine.wake()  # no time passes: the result waits for its next try otherwise
    while workshop.get(number).state is not COMPLETED:
        assert engine.alive
    assert "finish" in failed


def test_stop_tries_the_results_of_an_outage_again(workshop):
    store = Queue(workshop.store.queue, finish=[StoreUnavailableError("connection lost")])
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    engine = workshop.engine(store)
    engine.start()
    assert store.failed.wait(PATIENCE)
    while not engine._writer._again:
        assert engine.alive
    assert engine.stop(LONG)
    assert workshop.get(number).state is COMPLETED
