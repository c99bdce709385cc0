"""Backfill: nothing is asked for twice, and never more than the limit at once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import date, datetime, timedelta

import pytest

from flowstone_core.errors import StoreUnavailableError, ValidationError
from flowstone_core.model import chunking
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.attempt_result import AttemptResult, succeed
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.partition_range import partition_range
from flowstone_core.runtime.backfill.backfill import (
    FAILURES_KEPT,
    Backfill,
    BackfillRequest,
)
from flowstone_core.runtime.backfill.plan import PartitionAction, plan
from flowstone_core.store import Store
from flowstone_core.testing import FakeClock
from tests.attempt_ends import finish

ASSETS = AssetGraph([Asset("report", lambda context: None), Asset("other", lambda context: None)])
FIRST = date(2025, 1, 1)


class Driver:
    """A store, and an engine that makes what a test says; days of January are numbers."""

    def __init__(self, store):
        self.store = store
        self.clock = FakeClock()
        now = self.clock.now()
        until = now.replace(year=2030)
        store.runners.register(RunnerInfo("one", "host", 7, "machine", "0.1", now, until))
        self.claims = {}

    def order(self, days=10, *, force=False, limit=4, every="day"):
        span = partition_range(FIRST, FIRST + timedelta(days - 1), every)
        return BackfillRequest("report", span, force, limit)

    def backfill(self, *arguments, backfills=None, **options):
        backfills = backfills or self.store.backfills
        return Backfill(self.order(*arguments, **options), backfills, self.clock, ASSETS)

    def plan(self, *arguments, **options):
        found = plan(self.order(*arguments, **options), self.store.backfills)
        return found.resumes, [day_of(text) for text in found.actions], list(found.actions.values())

    def ask(self, *days, asset="report"):
        now = self.clock.now()
        texts = [f"d:2025-01-{day:02}" for day in days]
        asked = [
            self.store.materializations.materialize(ASSETS[asset], text, ASSETS, now)[1]
            for text in texts
        ]
        return asked[-1].id

    def start(self, limit=10_000):
        """Start what may start; return its days."""
        found = self.store.queue.claim("one", limit, ASSETS, self.clock.now()).claims
        new = {day_of(claim.materialization.partition): claim for claim in found}
        self.claims |= new
        return list(new)

    def end(self, *days, discard=False):
        """End what was started: some days, or all."""
        end = succeed(None)
        if discard:
            end = AttemptResult(AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, "gave up")
        for day in days or list(self.claims):
            finish(self.store.queue, self.claims.pop(day), end, ASSETS, self.clock.now())

    def retry_later(self, day):
        until = self.clock.now() + timedelta(hours=1)
        end = AttemptResult(
            AttemptOutcome.FAILED, MaterializationState.RETRYING, "no luck", retry_at=until
        )
        finish(self.store.queue, self.claims.pop(day), end, ASSETS, self.clock.now())

    def make(self, *days):
        self.ask(*days)
        self.start()
        self.end()

    def finish(self, backfill):
        """Have all made that it asks for; return its last progress."""
        for _ in range(1_000):
            progress = backfill.step()
            if progress.finished:
                return progress
            self.start()
            self.end()
        raise AssertionError("it does not end")

    def runs(self):
        """Return the days of all materializations, in the order they were asked for."""
        found = self.store.materializations.latest(limit=10_000)
        return [day_of(item.partition) for item in reversed(found)]

    def asked(self, number):
        """Return the days that a backfill asked for."""
        found = self.store.events.latest(source=f"backfill:{number}", limit=10_000)
        return [day_of(event.partition) for event in reversed(found)]


def day_of(text):
    return (date.fromisoformat(text.removeprefix("d:")) - FIRST).days + 1


def counts(progress):
    """Return what is not zero; whatever it is, each partition counts once."""
    names = ("completed", "skipped", "failed", "unfinished", "left")
    found = {name: getattr(progress, name) for name in names}
    assert sum(found.values()) == progress.total
    assert progress.done == progress.total - progress.unfinished - progress.left
    return {name: number for name, number in found.items() if number}


@pytest.fixture
def bench(store):
    return Driver(store)


@pytest.fixture
def chunk(monkeypatch):
    """How many partitions are looked at in one statement: few, for the sake of the clock."""
    monkeypatch.setattr(chunking, "CHUNK", 20)
    return 20


def test_backfill_asks_for_more_as_others_end(bench):
    backfill = bench.backfill()
    assert counts(backfill.step()) == {"unfinished": 4, "left": 6}
    assert counts(backfill.step()) == {"unfinished": 4, "left": 6}
    assert bench.start() == [1, 2, 3, 4]
    bench.end(2, 3)
    assert counts(backfill.step()) == {"completed": 2, "unfinished": 4, "left": 4}
    assert bench.runs() == [1, 2, 3, 4, 5, 6]
    progress = bench.finish(backfill)
    assert counts(progress) == {"completed": 10}
    assert bench.runs() == list(range(1, 11))
    assert backfill.step() == progress


def test_backfill_events_name_their_backfill(bench):
    bench.backfill(1).step()
    (event,) = bench.store.events.latest()
    assert (event.source, event.key, event.payload) == (
        "backfill:1",
        "d:2025-01-01",
        {"backfill": 1},
    )


def test_backfill_skips_completed_and_waits_for_unfinished_partitions(bench):
    bench.make(1, 2, 5)
    bench.ask(2)  # completed, and asked for anew: that is somebody else's
    bench.ask(3, 4, 6)
    assert bench.start() == [2, 3, 4, 6]
    bench.retry_later(4)
    bench.ask(6)  # runs, and is to be made again
    bench.ask(7)
    bench.ask(8, asset="other")
    backfill = bench.backfill(8, limit=1)
    assert counts(backfill.step()) == {"skipped": 3, "unfinished": 5}
    assert bench.asked(1) == [8]
    bench.end(3, 6)
    assert counts(backfill.step()) == {"skipped": 3, "completed": 1, "unfinished": 4}
    bench.clock.advance(timedelta(hours=2))
    assert counts(bench.finish(backfill)) == {"skipped": 3, "completed": 5}
    assert bench.asked(1) == [8]


def test_backfill_waiting_for_others_uses_no_limit(bench):
    bench.ask(1, 2, 3)
    backfill = bench.backfill(6, limit=2)
    assert counts(backfill.step()) == {"unfinished": 5, "left": 1}
    assert bench.asked(1) == [4, 5]


def test_backfill_with_force_materializes_everything_again(bench):
    bench.make(1)
    bench.ask(2, 3)
    bench.start(1)
    pending = bench.store.materializations.latest(limit=1)[0].id
    backfill = bench.backfill(4, force=True)
    assert counts(backfill.step()) == {"unfinished": 4}
    assert bench.asked(1) == [1, 2, 3, 4]
    # The pending one is joined, the running one is followed by another.
    assert bench.runs() == [1, 2, 3, 1, 2, 4]
    assert [event.source for event in bench.store.materializations.events(pending)] == [
        "manual",
        "backfill:1",
    ]
    bench.end(2)
    assert counts(backfill.step()) == {"unfinished": 4}
    assert counts(bench.finish(backfill)) == {"completed": 4}


def test_backfill_names_failed_materializations(bench):
    gone = bench.ask(1)
    backfill = bench.backfill(4)
    backfill.step()
    bench.store.materializations.cancel(gone, ASSETS, bench.clock.now())
    bench.start()
    bench.end(2, discard=True)
    bench.end(3)
    progress = backfill.step()
    assert counts(progress) == {"completed": 1, "failed": 2, "unfinished": 1}
    assert {bench.store.materializations.get(n).partition for n in progress.failures} == {
        "d:2025-01-01",
        "d:2025-01-02",
    }
    assert counts(bench.finish(backfill)) == {"completed": 2, "failed": 2}
    # The next one asks for them again.
    assert counts(bench.finish(bench.backfill(4))) == {"completed": 2, "skipped": 2}
    assert bench.asked(2) == [1, 2]


def test_backfill_names_a_limited_number_of_failures(bench):
    backfill = bench.backfill(30, limit=30)
    backfill.step()
    bench.start()
    bench.end(discard=True)
    progress = backfill.step()
    assert progress.finished
    assert progress.failed == 30
    assert len(progress.failures) == FAILURES_KEPT


@pytest.mark.parametrize("force", [False, True])
def test_backfill_interrupted_continues_and_asks_for_nothing_twice(bench, force):
    bench.make(1)
    backfill = bench.backfill(force=force)
    backfill.step()
    bench.start()
    bench.end()
    assert not backfill.step().resumed
    following = bench.backfill(force=force, limit=2)
    progress = following.step()
    assert progress.backfill == 1
    assert progress.resumed
    # What is under way already is more than its own limit.
    assert progress.unfinished == 4
    assert counts(bench.finish(following)) == (
        {"completed": 10} if force else {"completed": 9, "skipped": 1}
    )
    assert bench.asked(1) == list(range(1 if force else 2, 11))
    assert Counter(bench.runs()) == Counter(range(1, 11)) + Counter([1] if force else [])


def test_backfill_repeated_after_its_end_is_new(bench):
    bench.finish(bench.backfill(3, force=True))
    progress = bench.backfill(3, force=True).step()
    assert (progress.backfill, progress.resumed, progress.unfinished) == (2, False, 3)


@pytest.mark.parametrize("other", [{"force": True}, {"every": "2d"}, {"days": 11}])
def test_backfill_with_other_range_step_or_force_is_new(bench, other):
    bench.backfill().step()
    assert bench.backfill(**other).step().backfill == 2
    assert bench.backfill(limit=9).step().backfill == 1


def test_backfill_failed_partition_completed_by_another_is_completed(bench):
    backfill = bench.backfill(3)
    backfill.step()
    bench.start()
    bench.end(discard=True)
    bench.make(2)
    third = bench.store.materializations.latest(partition="d:2025-01-03")[0].id
    bench.store.materializations.retry(third, ASSETS, bench.clock.now())
    resumed = bench.backfill(3)
    assert counts(resumed.step()) == {"completed": 1, "failed": 1, "unfinished": 1}
    assert counts(bench.finish(resumed)) == {"completed": 2, "failed": 1}


def test_backfill_killed_after_its_last_partition_is_finished_later(bench):
    backfill = bench.backfill(2)
    backfill.step()
    bench.start()
    bench.end()
    progress = bench.backfill(2).step()
    assert (progress.finished, progress.resumed, counts(progress)) == (True, True, {"completed": 2})


def test_backfill_step_without_ask_asks_for_nothing(bench):
    backfill = bench.backfill(3, limit=2)
    backfill.step()
    bench.start()
    bench.end()
    assert counts(backfill.step(may_ask=lambda: False)) == {"completed": 2, "left": 1}
    assert bench.runs() == [1, 2]
    assert counts(bench.backfill(3).step(may_ask=lambda: False)) == {"left": 3}


def test_backfill_stopped_within_a_step_asks_for_nothing_more(bench):
    answers = iter([True, False])  # its partitions are read by the first, asked for by the second
    assert counts(bench.backfill(3).step(may_ask=lambda: next(answers))) == {"left": 3}
    assert bench.runs() == []


def test_backfill_limit_out_of_range_is_refused(bench):
    for limit in (0, 1_001):
        with pytest.raises(
            ValidationError, match=f"invalid limit {limit}: must be from 1 to 1,000"
        ):
            bench.order(limit=limit)
    assert counts(bench.backfill(1_001, limit=1_000).step()) == {"unfinished": 1_000, "left": 1}


def test_plan_returns_actions_and_writes_nothing(bench):
    bench.make(1)
    bench.ask(2)
    made = [PartitionAction.SKIP, PartitionAction.WAIT, PartitionAction.MATERIALIZE]
    assert bench.plan(3) == (None, [1, 2, 3], made)
    assert bench.plan(3, force=True) == (None, [1, 2, 3], [PartitionAction.MATERIALIZE] * 3)
    assert bench.store.events.latest(source="backfill:1") == []
    backfill = bench.backfill(3, force=True, limit=2)
    backfill.step()
    bench.start(1)
    bench.end()
    assert bench.plan(3, force=True) == (1, [1, 2, 3], made[1::-1] + made[2:])


def test_plan_counts_its_actions(bench, chunk):
    bench.make(1)
    found = plan(bench.order(chunk + 10), bench.store.backfills)
    assert {move: found.count(move) for move in PartitionAction} == {
        PartitionAction.MATERIALIZE: chunk + 9,
        PartitionAction.WAIT: 0,
        PartitionAction.SKIP: 1,
    }


class Counted:
    """A store of backfills that counts what is asked of it, and fails when a test says so."""

    def __init__(self, backfills, fail=lambda number: False):
        self._backfills = backfills
        self._fail = fail
        self.calls = Counter()
        self.rows = Counter()

    def __getattr__(self, name):
        method = getattr(self._backfills, name)

        def call(*arguments, **options):
            self.calls[name] += 1
            if self._fail(self.calls.total()):
                raise StoreUnavailableError("gone for a moment")
            found = method(*arguments, **options)
            self.rows[name] += len(found) if isinstance(found, dict) else 1
            return found

        return call


def test_backfill_reads_each_partition_of_the_range_once(bench, chunk):
    counted = Counted(bench.store.backfills)
    total = 2 * chunk + 5
    assert bench.finish(bench.backfill(total, backfills=counted)).completed == total
    assert counted.calls["partition_states"] == 3
    assert counted.rows["partition_states"] == total
    assert counted.rows["request"] == total
    assert counted.rows["states"] <= 2 * total


def test_backfill_queries_few_of_many_unfinished_materializations(bench, chunk):
    others = chunk + 5
    bench.backfill(others, limit=1_000).step()
    counted = Counted(bench.store.backfills)
    backfill = bench.backfill(others + 1, backfills=counted)
    assert backfill.step().unfinished == others + 1
    backfill.step()
    assert counted.rows["states"] == chunk + 1
    bench.start()
    bench.end()
    assert backfill.step().completed == others + 1


@pytest.mark.parametrize("failing", range(1, 9))
def test_backfill_step_after_a_store_outage_changes_nothing(bench, failing):
    bench.make(1)
    backfill = bench.backfill(backfills=Counted(bench.store.backfills, lambda n: n == failing))
    failed = 0
    for _ in range(100):
        try:
            progress = backfill.step()
        except StoreUnavailableError:
            failed += 1
            continue
        if progress.finished:
            break
        bench.start()
        bench.end()
    assert failed == 1
    assert counts(progress) == {"completed": 9, "skipped": 1}
    assert bench.runs() == list(range(1, 11))
    assert bench.asked(1) == list(range(2, 11))


def patiently(call, *arguments):
    """Call it until the store is there: on SQLite they wait for each other, and not for ever."""
    for _ in range(100):
        with suppress(StoreUnavailableError):
            return call(*arguments)
    raise AssertionError("the store is gone")


@pytest.mark.parametrize("force", [False, True])
def test_backfill_run_by_several_processes_doubles_nothing(bench, store_url, force):
    days, limit = 60, 5
    bench.make(1, 2, 3)
    begin = threading.Barrier(3)
    most = []

    def run_backfill(store):
        backfill = bench.backfill(days, force=force, limit=limit, backfills=store.backfills)
        backfill.step(may_ask=lambda: False)
        begin.wait(60)
        for _ in range(100_000):
            progress = patiently(backfill.step)
            if progress.finished:
                return progress
            most.append(patiently(store.queue.unfinished, ASSETS))
            for claim in patiently(store.queue.claim, "one", 2, ASSETS, bench.clock.now()).claims:
                patiently(finish, store.queue, claim, succeed(None), ASSETS, bench.clock.now())
        raise AssertionError("it does not end")

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        stores = [stack.enter_context(closing(Store.open(store_url))) for _ in range(3)]
        ends = [job.result() for job in [pool.submit(run_backfill, store) for store in stores]]
    assert [end.resumed for end in ends].count(False) == 1
    assert {end.failed for end in ends} == {0}
    (number,) = {end.backfill for end in ends}
    assert sorted(bench.asked(number)) == list(range(1 if force else 4, days + 1))
    assert max(most) <= limit
    assert set(Counter(bench.runs()).values()) == ({1, 2} if force else {1})


def test_backfill_of_datetimes_materializes_each(bench):
    first = datetime.fromisoformat("2025-01-15T10:00+01:00")
    order = BackfillRequest("report", partition_range(first, first + timedelta(hours=1)))
    Backfill(order, bench.store.backfills, bench.clock, ASSETS).step()
    assert [event.key for event in bench.store.events.latest()] == [
        "dt:2025-01-15T10:00:00Z",
        "dt:2025-01-15T09:00:00Z",
    ]
