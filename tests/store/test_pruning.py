"""Pruning: the rows that are deleted, and the rows that are kept."""

from __future__ import annotations

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
from flowstone_core.store import Pruned, Store, materializations, pruning, schema
from tests.store.pruning_calls import DAY, MONTH, counts, finish_all, fire_and_finish, prune, steps


def forget(bench, source, kept):
    would, done = (
        sum(bench.store.pruning(dry_run=dry_run).forget(source, bench.now - kept), Pruned())
        for dry_run in (True, False)
    )
    assert would == done
    return done.keys


# -- what goes -------------------------------------------------------------------------------------


def test_prune_deletes_old_rows_but_the_latest_of_a_partition(bench):
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
    (stayed,) = bench.store.materializations.latest()
    assert (stayed.id, stayed.state) == (2, MaterializationState.COMPLETED)
    assert len(bench.store.materializations.attempts(2)) == 1
    assert prune(bench) == {"kept_materializations": 1}


def test_prune_keeps_young_rows(bench):
    fire_and_finish(bench, "a", "b")
    bench.later(days=29)
    before = counts(bench.store)
    assert prune(bench) == {}
    assert counts(bench.store) == before


def test_prune_keeps_the_last_ended_not_the_greatest_number(bench):
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


def test_dependent_of_a_pruned_partition_does_not_rerun_it(bench):
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


def test_prune_deletes_discarded_or_cancelled_without_successor(bench):
    bench.ask("alone", "p")
    bench.discard(bench.claimed()["alone"])
    asked = bench.ask("alone", "q")
    bench.store.materializations.cancel(asked.id, bench.assets, bench.now)
    bench.later(days=40)
    assert prune(bench) == {"events": 2, "materializations": 2, "attempts": 1}
    assert counts(bench.store) == {"runners": 1, "sensors": 2}


def test_prune_deletes_one_without_an_event(bench):
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


def test_prune_keeps_payloads_of_a_retried_one(bench):
    asked = bench.ask("alone", "p", payload={"file": "a.csv"})
    bench.discard(bench.claimed()["alone"])
    bench.later(days=40)
    bench.store.materializations.retry(asked.id, bench.assets, bench.now)
    assert prune(bench) == {}
    (claim,) = bench.claim().claims
    assert [event.payload for event in claim.events] == [{"file": "a.csv"}]


def test_prune_keeps_one_retried_after_the_scan(bench):
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
def test_prune_skips_rows_locked_by_a_retry(bench, store_url, backend):
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
    assert [event.payload for event in bench.store.events.latest()] == [{"file": "a.csv"}]
    with pytest.raises(NotFoundError):
        bench.get(other.id)


def test_prune_keeps_a_predecessor(bench):
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


def test_prune_keeps_event_and_materialization_while_key_is_remembered(bench):
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


def test_prune_keeps_events_of_an_unfinished_backfill(bench):
    fills = bench.store.backfills
    record, _ = fills.begin("alone", "a", "b", "day", force=True, now=bench.now)
    fills.request(record, ["a", "b"], bench.assets, bench.now)
    finish_all(bench)
    bench.later(days=40)
    assert prune(bench) == {"kept_materializations": 2}
    # Else it would ask for them once more, since it is to make again what is completed.
    found = fills.partition_states("alone", ["a", "b"], force=True, backfill=record)
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
    assert [skip.tick_id for skip in bench.store.skips.latest()] == [2]
    assert fire("monday")


# -- keys ------------------------------------------------------------------------------------------


def test_key_fires_again_after_its_retention(bench):
    fire_and_finish(bench, "old")
    bench.later(days=5)
    fire_and_finish(bench, "young")
    bench.later(days=5)
    assert forget(bench, "sensor:feed", timedelta(days=7)) == 1
    fired = bench.fire(bench.event("old", "alone"), bench.event("young", "alone"))
    assert [event.key for event in fired.events] == ["old"]
    # What was forgotten is still there to be read.
    assert [event.key for event in bench.store.events.latest()] == ["old", "young", "old"]


def test_pruned_store_suppresses_only_remembered_keys(bench):
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
    assert [tick.error for tick in bench.store.ticks.latest()] == ["no luck again", None]


def test_prune_deletes_old_runners_that_own_nothing(bench):
    for name in ("stopped", "killed", "owner", "runner_id", "young"):
        bench.runner(name)
    bench.store.runners.stop("stopped", bench.now)
    bench.store.sensors.declare(["third"], bench.now)
    bench.store.sensors.claim("owner", ["third"], bench.now)
    bench.ask("alone")
    bench.claim(runner_id="runner_id")
    bench.later(days=40)
    bench.runner("young", lease=timedelta(0))
    assert prune(bench) == {"runners": 2}
    assert {runner.id for runner in bench.store.runners.all()} == {
        "one",
        "owner",
        "runner_id",
        "young",
    }
