"""Pruning: what goes, what stays, in small batches, beside everything else."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import NotFoundError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCheckpoint,
    ScheduleCommit,
    Skip,
    SkipReason,
    TickOutcome,
)
from flowstone_core.store import KeyRetention, Pruned, Store, materializations, pruning, schema

DAY = timedelta(days=1)
MONTH = timedelta(days=30)


def steps(bench, *, older_than=MONTH, dry_run=False, sensors=MONTH, schedules=DAY, **own):
    """Prune step by step; ``own`` says how long the keys of each sensor are remembered."""
    moments = {f"sensor:{name}": bench.now - kept for name, kept in own.items()}
    checkpoint = KeyRetention(moments, bench.now - sensors, bench.now - schedules)
    return bench.store.pruning(dry_run=dry_run).prune(bench.now - older_than, checkpoint)


def prune(bench, **options):
    """Prune to the end, once without and once with deleting: both say the same."""
    would, done = (
        sum(steps(bench, dry_run=dry_run, **options), Pruned()) for dry_run in (True, False)
    )
    assert would == done
    return {what: number for what, number in asdict(done).items() if number}


def forget(bench, source, kept):
    would, done = (
        sum(bench.store.pruning(dry_run=dry_run).forget(source, bench.now - kept), Pruned())
        for dry_run in (True, False)
    )
    assert would == done
    return done.keys


def counts(store):
    def count(connection):
        return {
            name.removeprefix("flowstone_"): connection.scalar(
                sa.select(sa.func.count()).select_from(table)
            )
            for name, table in schema.metadata.tables.items()
        }

    return {name: number for name, number in store._database.read(count).items() if number}


def finish_all(bench):
    while claims := bench.claim().claims:
        for claim in claims:
            bench.complete(claim)


def fire_and_finish(bench, *keys, asset="alone", partition=None):
    """Have a sensor fire, each key for a partition of its own, and all of it made."""
    bench.fire(*(bench.event(key, asset, partition or key) for key in keys))
    finish_all(bench)


# -- what goes -------------------------------------------------------------------------------------


def test_what_is_old_goes_and_the_latest_of_each_partition_stays(bench):
    fire_and_finish(bench, "a", partition="p")
    bench.later(hours=1)
    fire_and_finish(bench, "b", partition="p")
    bench.later(days=40)
    assert prune(bench) == {
        "events": 2,
        "materializations": 1,
        "attempts": 1,
        "ticks": 2,
        "kept_materializations": 1,
    }
    (stayed,) = bench.store.materializations.all()
    assert (stayed.id, stayed.state) == (2, MaterializationState.COMPLETED)
    assert len(bench.store.materializations.attempts(2)) == 1
    assert prune(bench) == {"kept_materializations": 1}


def test_what_is_young_stays(bench):
    fire_and_finish(bench, "a", "b")
    bench.later(days=29)
    before = counts(bench.store)
    assert prune(bench) == {}
    assert counts(bench.store) == before


def test_the_latest_is_that_which_ended_last_not_that_with_the_greatest_number(bench):
    first = bench.ask("alone")
    claim = bench.claimed()["alone"]
    second = bench.ask("alone")
    bench.later(hours=1)
    bench.complete(claim, {"made": "first"})
    bench.now -= timedelta(minutes=30)  # the clock is set back
    bench.complete(bench.claimed()["alone"])
    bench.later(days=40)
    assert prune(bench)["materializations"] == 1
    assert bench.get(first.id).metadata == {"made": "first"}
    with pytest.raises(NotFoundError):
        bench.get(second.id)


def test_what_depends_on_a_pruned_partition_does_not_make_it_again(bench):
    bench.make("orders", "p", {"rows": 1})
    bench.later(hours=1)
    bench.make("orders", "p", {"rows": 2})
    finish_all(bench)
    bench.later(days=40)
    assert prune(bench)["materializations"] >= 1
    bench.ask("clean", "p")
    claimed = bench.claimed()
    assert list(claimed) == ["clean"]
    assert claimed["clean"].upstream == {"orders": {"rows": 2}}


def test_one_that_was_discarded_or_cancelled_goes_though_nothing_came_after_it(bench):
    bench.ask("alone", "p")
    bench.discard(bench.claimed()["alone"])
    asked = bench.ask("alone", "q")
    bench.store.materializations.cancel(asked.id, bench.assets, bench.now)
    bench.later(days=40)
    assert prune(bench) == {"events": 2, "materializations": 2, "attempts": 1}
    assert counts(bench.store) == {"runners": 1, "sensors": 2}


def test_one_that_nobody_asked_for_by_an_event_goes_too(bench):
    for _ in range(2):
        bench.store._database.write(lambda connection: connection.execute(sa.delete(schema.events)))
        bench.make("alone")
        bench.later(hours=1)
    bench.store._database.write(lambda connection: connection.execute(sa.delete(schema.events)))
    bench.later(days=40)
    assert prune(bench)["materializations"] == 1


# -- what stays ------------------------------------------------------------------------------------


def test_nothing_unfinished_goes(bench):
    bench.fire(bench.event("a", "clean", "p"))  # is held back: orders come first
    bench.claim()
    bench.ask("alone", "running")
    bench.ask("alone", "retrying")
    for claim in bench.claim().claims:
        if claim.materialization.partition == "retrying":
            bench.fail(claim)
    bench.ask("alone", "pending")
    before = counts(bench.store)
    states = set(bench.states())
    bench.later(days=4_000)
    bench.runner("one")
    # Its key may be forgotten, and it is so old: it says all the same why it is to be made.
    assert prune(bench, sensors=DAY) == {}
    assert counts(bench.store) == before
    assert {state for _, state in states} == {"pending", "running", "retrying"}


def test_what_an_operator_has_made_again_keeps_its_payloads(bench):
    asked = bench.ask("alone", "p", payload={"file": "a.csv"})
    bench.discard(bench.claimed()["alone"])
    bench.later(days=40)
    bench.store.materializations.retry(asked.id, bench.assets, bench.now)
    assert prune(bench) == {}
    (claim,) = bench.claim().claims
    assert [event.payload for event in claim.events] == [{"file": "a.csv"}]


def test_what_an_operator_has_made_again_after_it_was_looked_at_stays(bench):
    asked = bench.ask("alone", "p", payload={"file": "a.csv"})
    bench.discard(bench.claimed()["alone"])
    bench.later(days=40)
    pruned = steps(bench)
    next(pruned)  # it has been looked at, and is about to go
    bench.store.materializations.retry(asked.id, bench.assets, bench.now)
    assert sum(pruned, Pruned()) == Pruned()
    (claim,) = bench.claim().claims
    assert [event.payload for event in claim.events] == [{"file": "a.csv"}]


@pytest.mark.parametrize("backend", ["postgresql"])
def test_what_an_operator_is_about_to_make_again_is_passed_over(bench, store_url, backend):
    asked = bench.ask("alone", "p", payload={"file": "a.csv"})
    other = bench.ask("alone", "q")
    for claim in bench.claim().claims:
        bench.discard(claim)
    bench.later(days=40)

    def retry_slowly(connection):
        found = materializations._retry(connection, asked.id, bench.assets, bench.now)
        # Not held up, and done before the operator's transaction is.
        done = sum(steps(bench), Pruned())
        assert (done.events, done.materializations) == (1, 1)
        return found

    operator = Store.open(store_url)
    assert operator._database.write(retry_slowly).state is MaterializationState.PENDING
    operator.close()
    assert [event.payload for event in bench.store.events.all()] == [{"file": "a.csv"}]
    with pytest.raises(NotFoundError):
        bench.get(other.id)


def test_one_that_another_stands_behind_stays(bench):
    ahead, behind = bench.ask("alone", "p"), bench.ask("alone", "q")
    bench.store.materializations.cancel(ahead.id, bench.assets, bench.now)
    bench.store._database.write(
        lambda connection: connection.execute(
            sa.update(schema.materializations)
            .where(schema.materializations.c.id == behind.id)
            .values(after_id=ahead.id, available_at=None)
        )
    )
    bench.later(days=40)
    assert prune(bench) == {"events": 1}
    assert bench.get(ahead.id).state is MaterializationState.CANCELLED


def test_an_event_stays_while_its_key_is_remembered_and_so_does_what_it_asked_for(bench):
    fire_and_finish(bench, "a", partition="p")
    fire_and_finish(bench, "b", partition="p")
    bench.later(days=40)
    before = counts(bench.store)
    kept = {"kept_events": 2, "kept_materializations": 1}
    assert prune(bench, sensors=timedelta(days=41)) == kept
    assert prune(bench, sensors=DAY, feed=timedelta(days=41)) == kept
    assert counts(bench.store) == before
    # Another sensor's memory is no matter.
    gone = prune(bench, sensors=timedelta(days=41), drop=timedelta(days=41), feed=DAY)
    assert (gone["events"], gone["materializations"], gone["ticks"]) == (2, 1, 2)


def test_an_event_whose_key_was_forgotten_by_hand_goes(bench):
    fire_and_finish(bench, "a")
    bench.store.sensors.reset("feed", forget_keys=True)
    bench.later(days=40)
    assert prune(bench, sensors=timedelta(days=400))["events"] == 1


def test_a_backfill_that_is_not_finished_keeps_what_it_asked_for(bench):
    fills = bench.store.backfills
    record, _ = fills.begin("alone", "a", "b", "day", force=True, now=bench.now)
    fills.ask(record, ["a", "b"], bench.assets, bench.now)
    finish_all(bench)
    bench.later(days=40)
    assert prune(bench) == {"kept_materializations": 2}
    # Else it would ask for them once more, since it is to make again what is completed.
    found = fills.standings("alone", ["a", "b"], force=True, backfill=record)
    assert not any(standing.missing for standing in found.values())
    fills.finish(record.id, bench.now)
    assert prune(bench) == {"events": 2, "kept_materializations": 2}
    bench.later(days=40)
    assert prune(bench) == {"backfills": 1, "kept_materializations": 2}


def test_the_instants_of_a_schedule_are_remembered_for_a_while(bench):
    given = {"asset": "alone", "trigger": "cron", "text": "0 2 * * *"}
    bench.store.schedules.create("nightly", given, bench.now)
    bench.store.schedules.claim("one", ["nightly"], bench.now)

    def fire(key):
        before = bench.store.schedules.get("nightly").checkpoint
        after = ScheduleCheckpoint(bench.now, before.version + 1)
        moments = bench.now, bench.now, before, after
        events, skips = (NewEvent(key, "alone", key),), (Skip(SkipReason.OVERLAP, *moments[:2]),)
        commit = ScheduleCommit(
            "nightly", TickOutcome.TRIGGERED, *moments, events=events, skips=skips
        )
        (result,) = bench.store.ticks.commit("one", [commit], bench.assets, bench.now)
        assert result.committed
        return len(result.events)

    assert fire("monday")
    finish_all(bench)
    bench.later(days=40)
    assert prune(bench, schedules=timedelta(days=41)) == {
        "kept_events": 1,
        "kept_materializations": 1,
    }
    # The clock is set back, and the instant comes again.
    assert not fire("monday")
    gone = prune(bench, schedules=DAY)
    assert (gone["events"], gone["ticks"], gone["skips"]) == (1, 1, 1)
    assert [skip.tick_id for skip in bench.store.skips.all()] == [2]
    assert fire("monday")


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_is_suppressed_while_it_is_remembered_and_fires_again_after_that(bench):
    fire_and_finish(bench, "old")
    bench.later(days=5)
    fire_and_finish(bench, "young")
    bench.later(days=5)
    assert forget(bench, "sensor:feed", timedelta(days=7)) == 1
    fired = bench.fire(bench.event("old", "alone"), bench.event("young", "alone"))
    assert [event.key for event in fired.events] == ["old"]
    # What was forgotten is still there to be read.
    assert [event.key for event in bench.store.events.all()] == ["old", "young", "old"]


def test_a_pruned_store_suppresses_what_is_remembered_and_fires_what_is_not(bench):
    fire_and_finish(bench, "old")
    bench.later(days=20)
    fire_and_finish(bench, "young")
    bench.later(days=20)
    assert prune(bench, older_than=DAY, sensors=MONTH)["events"] == 1
    fired = bench.fire(bench.event("old", "alone"), bench.event("young", "alone"))
    assert [event.key for event in fired.events] == ["old"]


def test_forgetting_is_about_one_source(bench):
    fire_and_finish(bench, "a")
    bench.fire(bench.event("a", "alone"), sensor="drop")
    bench.ask("alone")
    bench.later(days=10)
    assert forget(bench, "sensor:feed", DAY) == 1
    assert forget(bench, "sensor:feed", DAY) == 0
    assert not bench.fire(bench.event("a", "alone"), sensor="drop").events


def test_many_keys_are_forgotten_in_batches(bench, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 10)
    fire_and_finish(bench, *(f"k{number}" for number in range(25)))
    bench.later(days=10)
    found = list(bench.store.pruning().forget("sensor:feed", bench.now - DAY))
    assert [step.keys for step in found] == [10, 10, 5]


# -- ticks, runners --------------------------------------------------------------------------------


def test_ticks_go_that_no_event_refers_to(bench):
    bench.commit(bench.tick(error="no luck"))
    fire_and_finish(bench, "a")
    bench.later(days=40)
    bench.commit(bench.tick(error="no luck again"))
    assert prune(bench, sensors=timedelta(days=41))["ticks"] == 1
    assert [tick.error for tick in bench.store.ticks.all()] == ["no luck again", None]


def test_a_runner_goes_that_was_not_heard_of_for_long_and_owns_nothing(bench):
    for name in ("stopped", "killed", "owner", "runner_id", "young"):
        bench.runner(name)
    bench.store.runners.stop("stopped", bench.now)
    bench.store.sensors.declare(["third"], bench.now)
    bench.store.sensors.claim("owner", ["third"], bench.now)
    bench.ask("alone")
    bench.claim(runner_id="runner_id")
    bench.later(days=40)
    bench.store.runners.renew("young", bench.now)
    assert prune(bench) == {"runners": 2}
    assert {runner.id for runner in bench.store.runners.all()} == {
        "one",
        "owner",
        "runner_id",
        "young",
    }


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
def test_what_was_written_while_the_clock_was_wrong_holds_up_nothing(bench):
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
            checkpoint = KeyRetention({}, bench.now - DAY, bench.now - DAY)
            found.append(sum(store.pruning().prune(bench.now - MONTH, checkpoint), Pruned()))
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
