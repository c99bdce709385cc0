"""Pruning: batches, concurrency and costs."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.model.clock import SystemClock
from flowstone_core.store import KeyRetention, Pruned, Store, batch_writer, pruning, schema
from tests.store.pruning_calls import DAY, MONTH, counts, fire_and_finish, prune, steps

# -- in batches ------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Batches of ten rows."""
    monkeypatch.setattr(pruning, "BATCH", 10)


def rows_of(step):
    return sum(number for what, number in asdict(step).items() if not what.startswith("kept"))


@pytest.mark.usefixtures("small")
def test_no_transaction_deletes_more_than_a_batch(bench):
    for _ in range(2):
        fire_and_finish(bench, *(f"k{number} {bench.now}" for number in range(30)), partition="p")
        bench.later(hours=1)
    for number in range(15):
        bench.make("alone", "q")
        bench.commit(bench.tick(error=f"no {number}"))
    bench.later(days=40)
    found = list(steps(bench))
    assert max(map(rows_of, found)) == 10
    done = sum(found, Pruned())
    assert (done.events, done.materializations, done.ticks) == (75, 15, 17)
    assert rows_of(sum(steps(bench), Pruned())) == 0


@pytest.mark.usefixtures("small")
def test_many_attempts_and_their_materialization_go_together(bench):
    bench.ask("alone")
    for _ in range(25):
        (claim,) = bench.claim().claims
        bench.store.queue.release([claim], bench.now)
    bench.discard(bench.claimed()["alone"])
    bench.later(days=40)
    assert prune(bench) == {"events": 1, "materializations": 1, "attempts": 26}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("survived", [0, 1, 2, 3, 5, 8])
def test_one_that_is_interrupted_is_finished_by_the_next(bench, survived):
    for number in range(12):
        bench.make("alone")
        fire_and_finish(bench, f"k{number}", partition="p")
    bench.later(days=40)
    interrupted = Pruned()
    for count, step in enumerate(steps(bench)):
        interrupted += step
        if count == survived:
            break
    rest = sum(steps(bench), Pruned())
    both = interrupted + rest
    assert (both.events, both.materializations, both.attempts, both.ticks) == (24, 23, 23, 12)
    assert counts(bench.store) == {
        "runners": 1,
        "sensors": 2,
        "materializations": 1,
        "attempts": 1,
    }


@pytest.mark.usefixtures("small")
def test_a_batch_that_fails_is_undone_and_the_next_time_goes_on(bench):
    for number in range(30):
        fire_and_finish(bench, f"k{number}", partition="p")
    bench.later(days=40)
    failing = 3

    def fail(connection, cursor, statement, *_):
        nonlocal failing
        if statement.startswith("DELETE FROM flowstone_materializations"):
            failing -= 1
            if not failing:
                raise RuntimeError("the plug is pulled")

    engine = bench.store._database._engine
    sa.event.listen(engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="plug"):
        list(steps(bench))
    sa.event.remove(engine, "after_cursor_execute", fail)
    done = counts(bench.store)
    # Whatever is there is whole: each event has its materialization, and so on.
    assert 0 < done["materializations"] < 30
    assert done["materializations"] == done["attempts"] >= done["events"]
    prune(bench)
    assert counts(bench.store)["materializations"] == 1


@pytest.mark.usefixtures("small")
def test_prune_passes_rows_written_with_a_wrong_clock(bench):
    wrong = bench.now + timedelta(days=4_000)
    bench.now, right = wrong, bench.now
    bench.commit(*(bench.tick(error="in the future") for _ in range(9)))
    bench.now = right
    bench.commit(*(bench.tick(error="in time") for _ in range(25)))
    bench.later(days=40)
    assert prune(bench) == {"ticks": 25}


# -- beside everything else ------------------------------------------------------------------------

OLD = 20_000


def fill(store, now):
    """Leave 20,000 rows behind of what ended at a moment, in one transaction."""
    quarter = range(1, OLD // 4 + 1)
    at = {"started_at": now, "finished_at": now}
    rows = {
        schema.ticks: {"source": "sensor:feed", "outcome": "triggered", "events": 1,
                       "duplicates": 0, **at},
        schema.materializations: {"asset": "alone", "partition": "p", "state": "completed",
                                  "attempt": 1, "max_attempts": 1, "requested_at": now, **at},
        schema.events: {"source": "sensor:feed", "asset": "alone", "partition": "p",
                        "created_at": now},
        schema.attempts: {"number": 1, "outcome": "completed", **at},
    }  # fmt: skip
    own = {
        schema.ticks: lambda number: {},
        schema.materializations: lambda number: {"run_id": f"run {number}"},
        schema.events: lambda number: {
            "key": f"key {number}", "materialization_id": number, "tick_id": number
        },
        schema.attempts: lambda number: {"materialization_id": number},
    }  # fmt: skip

    def insert(connection):
        for table, shared in rows.items():
            filled = [shared | own[table](number) for number in quarter]
            connection.execute(sa.insert(table), filled)

    store._database.write(insert)


def test_D16_ticks_are_committed_while_20000_old_rows_are_pruned(bench):
    fill(bench.store, bench.now)
    bench.later(days=40)
    committed, over, failures = threading.Semaphore(0), threading.Event(), []

    def commit():
        try:
            while not over.is_set():
                (result,) = bench.commit(bench.tick("drop", error="no luck"))
                assert result.committed
                committed.release()
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=commit)
    thread.start()
    done, batches = Pruned(), 0
    try:
        for step in steps(bench):
            done += step
            if rows_of(step):
                batches += 1
                # Between any two batches a tick can be committed, however many were before.
                while committed.acquire(blocking=False):
                    pass
                assert committed.acquire(timeout=300)
    finally:
        over.set()
        thread.join()
    assert failures == []
    assert batches >= OLD // pruning.BATCH
    assert rows_of(done) == OLD - 2
    assert counts(bench.store)["materializations"] == 1


def test_two_that_prune_at_once_do_it_once(bench, store_url):
    fill(bench.store, bench.now)
    bench.later(days=40)
    other = Store.open(store_url)
    found, failures = [], []
    together = threading.Barrier(2)

    def run(store):
        try:
            together.wait()
            keys = KeyRetention({}, bench.now - DAY, bench.now - DAY)
            found.append(sum(store.pruning().prune(bench.now - MONTH, keys), Pruned()))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=[store]) for store in (bench.store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert failures == []
    # One may have passed over what the other had locked.
    prune(bench)
    assert counts(bench.store) == {
        "runners": 1, "sensors": 2, "materializations": 1, "attempts": 1
    }  # fmt: skip
    assert sum(step.events for step in found) == OLD // 4


# -- what it costs ---------------------------------------------------------------------------------


def scans(bench, call):
    """Return what SQLite would read a table whole for, of the statements of a call."""
    statements, found = [], []

    def listen(connection, cursor, statement, parameters, *_):
        if statement.startswith(("SELECT", "DELETE", "UPDATE", "WITH")):
            statements.append((statement, parameters))

    engine = bench.store._database._engine
    sa.event.listen(engine, "before_cursor_execute", listen)
    call()
    sa.event.remove(engine, "before_cursor_execute", listen)
    kinds = {statement.split()[0] for statement, _ in statements}
    assert kinds == {"SELECT", "DELETE", "UPDATE"}

    def explain(connection):
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in plan)

    bench.store._database.read(explain)
    # What a statement brings along itself is no table.
    return {each for each in found if re.match(r"SCAN (?!CONSTANT|\(subquery)", each)}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_statement_reads_a_whole_table(bench, backend):
    fire_and_finish(bench, "a", partition="p")
    fire_and_finish(bench, "b", partition="p")
    fills = bench.store.backfills
    record, _ = fills.begin("alone", "a", "b", "day", force=True, now=bench.now)
    fills.finish(record.id, bench.now)
    bench.runner("other")
    bench.later(days=40)

    def both():
        assert sum(bench.store.pruning().forget("sensor:feed", bench.now - DAY), Pruned()).keys
        done = sum(steps(bench, feed=DAY), Pruned())
        assert all((done.materializations, done.backfills, done.runners, done.ticks))

    # Only those backfills are read one and all that are not finished: the index has no others.
    unfinished = "SCAN flowstone_backfills USING INDEX uq_flowstone_backfills_unfinished"
    assert scans(bench, both) == {unfinished}


# -- how long a batch takes ------------------------------------------------------------------------


class Stopwatch(SystemClock):
    """Shows another time each time it is read."""

    def __init__(self, seconds):
        self.seconds, self.shown = seconds, 0.0

    def monotonic(self):
        self.shown += self.seconds
        return self.shown


@pytest.mark.parametrize(
    ("seconds", "batches"), [(0.001, [4, 8, 16, 32]), (0.015, [4] * 5), (0.03, [16, 8, 4, 4])]
)
def test_batches_are_as_large_as_their_time_allows(bench, monkeypatch, seconds, batches):
    monkeypatch.setattr(batch_writer, "LEAST", 4)
    for number in range(60):
        bench.commit(bench.tick(error=f"no {number}"))
    bench.later(days=40)
    keys = KeyRetention({}, bench.now - DAY, bench.now - DAY)
    run = bench.store.pruning(Stopwatch(seconds))
    run._writer.room = batches[0]
    found = run.prune(bench.now - MONTH, keys)
    sizes = [step.ticks for step in found if step.ticks]
    assert sizes[: len(batches)] == batches
    assert sum(sizes) == 60
