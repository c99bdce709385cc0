"""Schedules and their lines, with threads at once: nothing is doubled, nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.attempt_result import AttemptResult, succeed
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.tick import NewEvent, ScheduleCheckpoint, ScheduleCommit, Skip, SkipReason
from flowstone_core.model.tick import TickOutcome as Outcome
from flowstone_core.store import DeclaredSchedule, Store, sql_engines
from tests.attempt_ends import finish
from tests.processes import until

ASSETS = AssetGraph([Asset("orders", print)])
GIVEN = {"asset": "orders", "trigger": "cron", "text": "0 2 * * *"}
ROUNDS = 30
PATIENCE = 300
DISCARD = AttemptResult(AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, "no")


@pytest.fixture
def race(store_url, monkeypatch):
    """Run functions at once, each in a thread and with a store of its own, as processes have."""
    # As in test_races: SQLite has no queue of writers, and a runner would try again.
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 120_000)
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(Store.open(store_url))) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(len(stores)))

        def run(*functions):
            begin = threading.Barrier(len(functions))

            def call(function, store):
                begin.wait(PATIENCE)
                return function(store)

            pairs = zip(functions, stores, strict=False)
            return [job.result(PATIENCE) for job in [pool.submit(call, *pair) for pair in pairs]]

        yield run


class Line:
    """A schedule that fires for partitions in line."""

    def __init__(self, bench):
        self.bench, self.store, self.now = bench, bench.store, bench.now
        bench.assets = ASSETS
        bench.runner("two")
        self.store.schedules.create("nightly", {**GIVEN, "pause_on_failure": True}, self.now)
        self.own()

    def own(self, runner="one"):
        return self.store.schedules.claim(runner, ["nightly"], self.now)

    def tick(self, *partitions, skips=()):
        before = self.store.schedules.get("nightly").checkpoint
        events = tuple(NewEvent(name, "orders", name, None, sequential=True) for name in partitions)
        after = ScheduleCheckpoint(self.now, before.version + 1)
        return ScheduleCommit(
            "nightly", Outcome.TRIGGERED, self.now, self.now, before, after, events, None, skips
        )

    def commit(self, commit, owner="one", store=None):
        (result,) = (store or self.store).ticks.commit(owner, [commit], ASSETS, self.now)
        return result

    def fire(self, *partitions):
        """Fire, and start the first; return its claim, and the numbers of the others."""
        events = self.commit(self.tick(*partitions)).events
        (claim,) = self.store.queue.claim("one", 9, ASSETS, self.now).claims
        assert claim.materialization.id == events[0].materialization_id
        return claim, [event.materialization_id for event in events[1:]]

    def start(self):
        found = self.store.queue.claim("one", 9, ASSETS, self.now).claims
        return [claim.materialization.id for claim in found]

    def finish(self, claim, end=None):
        return lambda store: finish(store.queue, claim, end or succeed(None), ASSETS, self.now)

    def cancel(self, number):
        return lambda store: store.materializations.cancel(number, ASSETS, self.now)

    def over(self):
        """End everything."""
        while self.store.queue.unfinished(ASSETS):
            for item in self.store.materializations.latest(limit=9):
                if not item.state.ended:
                    self.store.materializations.cancel(item.id, ASSETS, self.now)


@pytest.fixture
def line(bench):
    return Line(bench)


def partitions(turn, count):
    return [f"{turn}-{number}" for number in range(count)]


def test_when_those_before_it_end_at_once_the_one_behind_starts(line, race):
    for turn in range(ROUNDS):
        claim, (second, third) = line.fire(*partitions(turn, 3))
        race(line.finish(claim), line.cancel(second))
        assert line.start() == [third]
        line.over()


def test_when_a_whole_line_is_cancelled_at_once_the_last_one_starts(line, race):
    for turn in range(ROUNDS):
        claim, (second, third, fourth, last) = line.fire(*partitions(turn, 5))
        race(line.finish(claim), *(line.cancel(number) for number in (second, third, fourth)[::-1]))
        assert line.start() == [last]
        line.over()


def test_append_behind_an_ending_one_starts(line, race):
    for turn in range(ROUNDS):
        claim, _ = line.fire(*partitions(turn, 1))
        commit = line.tick(f"{turn}-next")
        _, result = race(
            line.finish(claim), lambda store, commit=commit: line.commit(commit, store=store)
        )
        (event,) = result.events
        assert line.start() == [event.materialization_id]
        line.over()


def test_append_during_cancel_of_the_last_keeps_the_order(line, race):
    for turn in range(ROUNDS):
        claim, (second,) = line.fire(*partitions(turn, 2))
        commit = line.tick(f"{turn}-next")
        _, _, result = race(
            line.finish(claim),
            line.cancel(second),
            lambda store, commit=commit: line.commit(commit, store=store),
        )
        (event,) = result.events
        assert line.start() == [event.materialization_id]
        line.over()


def test_of_an_instant_that_two_runners_found_there_is_one_event(line, race):
    for turn in range(ROUNDS):
        owner, heir = ("one", "two")[:: 1 if turn % 2 else -1]
        line.own(owner)
        commit = line.tick(f"{turn}")

        def fire(store, commit=commit, owner=owner):
            return line.commit(commit, owner, store).committed

        def take_over(store, commit=commit, owner=owner, heir=heir):
            store.runners.stop(owner, line.now)
            taken = {}
            # A claimer passes over what another one has locked.
            until(lambda: taken.update(store.schedules.claim(heir, ["nightly"], line.now)) or taken)
            same = taken["nightly"].checkpoint == commit.before
            return same, line.commit(commit, heir, store).committed

        first, (same, second) = race(fire, take_over)
        assert first != second
        assert second == same
        assert len(line.store.events.latest(limit=99)) == turn + 1
        line.bench.runner(owner)
        line.over()


def test_of_the_same_tick_committed_by_several_one_is_committed(line, race):
    skip = Skip(SkipReason.CATCHUP, line.now, line.now)
    commit = line.tick("a", "b", skips=(skip,))
    results = race(*[lambda store: line.commit(commit, store=store).committed] * 4)
    assert sorted(results) == [False, False, False, True]
    assert (len(line.store.events.latest()), len(line.store.skips.latest())) == (2, 1)


@pytest.mark.parametrize("change", ["pause", "edit", "remove"])
def test_tick_and_operator_command_are_serialized(line, race, change):
    changes = {
        "pause": lambda store: store.schedules.pause("nightly"),
        "edit": lambda store: store.schedules.edit("nightly", 0, GIVEN, (), line.now),
        "remove": lambda store: store.schedules.remove("nightly"),
    }
    commit = line.tick("a")
    result, changed = race(lambda store: line.commit(commit, store=store), changes[change])
    assert len(line.store.events.latest()) == len(line.store.ticks.latest()) == result.committed
    if change == "edit":
        assert (changed is None) == result.committed
        assert line.store.schedules.get("nightly").checkpoint.version == 1
    if change == "pause":
        assert changed.checkpoint.version == 1 + result.committed


def test_a_failure_pauses_the_schedule_though_it_ticks(line, race):
    for turn in range(5):
        claim, _ = line.fire(f"{turn}")
        commit = line.tick(f"{turn}-next")
        _, result = race(
            line.finish(claim, DISCARD),
            lambda store, commit=commit: line.commit(commit, store=store),
        )
        assert line.store.schedules.get("nightly").paused
        assert len(line.start()) == result.committed
        line.over()
        version = line.store.schedules.get("nightly").checkpoint.version
        line.store.schedules.resume("nightly", version, (), line.now)
        line.own()


def test_schedules_declared_by_several_at_once_are_there_once(line, race):
    names = [f"schedule-{number:03}" for number in range(200)]
    items = [DeclaredSchedule(name, GIVEN, "flow.ini:1") for name in names]
    race(*(lambda store, o=o: store.schedules.declare(o, line.now) for o in (items, items[::-1])))
    assert [record.name for record in line.store.schedules.all(names)] == names
    other = [DeclaredSchedule(name, {**GIVEN, "text": "0 3 * * *"}, "flow.ini:1") for name in names]
    race(*(lambda store, o=o: store.schedules.declare(o, line.now) for o in (other, other[::-1])))
    assert {record.checkpoint.version for record in line.store.schedules.all(names)} == {1}


# -- made to happen, by holding a lock of the test's own -------------------------------------------

only_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
LOCK = "SELECT 1 FROM flowstone_materializations WHERE id = %s FOR UPDATE"


@only_postgresql
def test_append_waits_only_for_the_last_queued(line, other):
    claim, (second,) = line.fire("a", "b")
    other.execute(LOCK, [claim.materialization.id])
    with ThreadPoolExecutor(1) as pool:
        (event,) = pool.submit(line.commit, line.tick("c")).result(60).events
    assert line.bench.get(event.materialization_id).waiting_for.endswith(f"#{second}")


@only_postgresql
def test_cancel_of_queued_one_does_not_wait_for_its_predecessor(line, other):
    claim, (second, third) = line.fire("a", "b", "c")
    number = claim.materialization.id
    other.execute(LOCK, [number])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(line.cancel(second), line.store).result(60)
    assert line.bench.get(third).waiting_for.endswith(f"#{number}")


@only_postgresql
def test_end_sees_successor_left_by_a_cancelled_one(line, other, waiting):
    claim, (second, third) = line.fire("a", "b", "c")
    # As one who cancels: first the row itself, then the one behind it.
    other.execute(LOCK, [second])
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(line.finish(claim), line.store)
        waiting(1)
        change = "UPDATE flowstone_materializations SET after_id = %s, state = %s WHERE id = %s"
        other.execute(change, [None, "cancelled", second])
        other.execute(change, [claim.materialization.id, "pending", third])
        other.commit()
        job.result(60)
    assert line.bench.get(second).state == "cancelled"
    assert line.start() == [third]


@only_postgresql
def test_append_blocks_the_end_of_its_predecessor(line, other, waiting):
    claim, _ = line.fire("a")
    # As a tick: it asks, and stands behind what it saw.
    other.execute(LOCK.replace("UPDATE", "SHARE"), [claim.materialization.id])
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(line.finish(claim), line.store)
        waiting(1)
        other.execute(
            "INSERT INTO flowstone_materializations (run_id, asset, partition, state, attempt,"
            " max_attempts, requested_at, after_id)"
            " VALUES ('x', 'orders', 'b', 'pending', 0, 3, now(), %s)",
            [claim.materialization.id],
        )
        other.commit()
        job.result(60)
    assert len(line.start()) == 1


@only_postgresql
def test_tick_waits_for_end_of_last_queued_and_then_starts(line, other, waiting):
    claim, _ = line.fire("a")
    number = claim.materialization.id
    end = "UPDATE flowstone_materializations SET state = 'completed', token = NULL WHERE id = %s"
    other.execute(end, [number])
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(line.commit, line.tick("b"))
        waiting(1)
        other.commit()
        (event,) = job.result(60).events
    assert line.start() == [event.materialization_id]


@only_postgresql
def test_advance_waits_for_end_of_another_predecessor(line, other, waiting):
    free = [NewEvent(name, "orders", name) for name in ("a", "b")]
    line.commit(replace(line.tick(), events=tuple(free)))
    first, second = line.store.queue.claim("one", 9, ASSETS, line.now).claims
    (event,) = line.commit(line.tick("c")).events
    end = "UPDATE flowstone_materializations SET state = 'completed', token = NULL WHERE id = %s"
    other.execute(end, [first.materialization.id])
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(line.finish(second), line.store)
        waiting(1)
        other.commit()
        job.result(60)
    assert line.start() == [event.materialization_id]


@only_postgresql
@pytest.mark.parametrize("change", ["edit", "pause"])
def test_edit_waits_for_a_concurrent_tick_commit(line, other, waiting, change):
    changes = {
        "edit": lambda: line.store.schedules.edit("nightly", 0, GIVEN, (), line.now),
        "pause": lambda: line.store.schedules.pause("nightly").checkpoint.version,
    }
    other.execute("UPDATE flowstone_schedules SET version = 1")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(changes[change])
        waiting(1)
        other.commit()
        assert job.result(60) == {"edit": None, "pause": 2}[change]
    assert line.store.schedules.get("nightly").paused == (change == "pause")
