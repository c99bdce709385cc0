"""Backfills in the store: each begun once, each partition asked for once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import backfills
from flowstone_core.store.backfills import PartitionState
from flowstone_core.store.schema import metadata
from tests.store.sqlite_steps import steps

IDENTITY = ("alone", "d:2025-01-01", "d:2025-01-31", "day")


def begin(bench, **options):
    options = {"force": False, "now": bench.now} | options
    return bench.store.backfills.begin(*IDENTITY, **options)


def ask(bench, backfill, *partitions):
    return bench.store.backfills.request(backfill, partitions, bench.assets, bench.now)


def states(bench, *partitions, force=False, backfill=None):
    return bench.store.backfills.partition_states(
        "alone", partitions, force=force, backfill=backfill
    )


def test_begun_backfill_is_returned_until_finished(bench):
    first, resumed = begin(bench)
    assert not resumed
    assert (first.id, first.source, first.asset) == (1, "backfill:1", "alone")
    assert (first.first, first.last, first.every) == IDENTITY[1:]
    assert (first.force, first.created_at, first.finished_at) == (False, bench.now, None)
    bench.later(hours=1)
    assert begin(bench) == (first, True)
    assert bench.store.backfills.unfinished(*IDENTITY, force=False) == first
    bench.store.backfills.finish(first.id, bench.now)
    assert bench.store.backfills.unfinished(*IDENTITY, force=False) is None
    following, resumed = begin(bench)
    assert (following.id, following.created_at, resumed) == (2, bench.now, False)


def test_by_force_it_is_another_one(bench):
    plain, _ = begin(bench)
    forced, resumed = begin(bench, force=True)
    assert (forced.id, forced.force, resumed) == (2, True, False)
    assert bench.store.backfills.unfinished(*IDENTITY, force=True) == forced
    assert bench.store.backfills.unfinished(*IDENTITY, force=False) == plain


def test_the_moment_it_was_finished_first_stays(bench):
    first, _ = begin(bench)
    ended = bench.now
    bench.store.backfills.finish(first.id, ended)
    bench.store.backfills.finish(first.id, bench.later(hours=1))
    rows = bench.store._database.read(
        lambda connection: connection.execute(metadata.tables["flowstone_backfills"].select()).all()
    )
    assert [row.finished_at for row in rows] == [ended]


class Overtaken:
    """A connection before whose second statement another process begins the same backfill."""

    def __init__(self, connection, identity, now):
        self._connection = connection
        self._begin = lambda: backfills._begin(connection, identity, now)
        self._statements = 0
        self.dialect = connection.dialect

    def execute(self, statement):
        self._statements += 1
        if self._statements == 2:
            self._begin()
        return self._connection.execute(statement)


def test_one_that_another_begins_at_the_same_time_is_that_one(bench):
    identity = (*IDENTITY, False)
    found, resumed = bench.store._database.write(
        lambda connection: backfills._begin(
            Overtaken(connection, identity, bench.now), identity, bench.now
        )
    )
    assert (found.id, resumed) == (1, True)
    assert begin(bench) == (found, True)


def test_a_partition_is_asked_for_once_whatever_became_of_it(bench):
    backfill, _ = begin(bench)
    asked = ask(bench, backfill, "b", "a")
    assert list(asked) == ["b", "a"]
    number = asked["a"].requested_id
    pending = PartitionState(number, MaterializationState.PENDING)
    assert asked["a"] == pending
    # What is looked at and not asked for is active; it was the backfill's own at that.
    assert ask(bench, backfill, "a") == {"a": replace(pending, active=number)}
    claims = {claim.materialization.partition: claim for claim in bench.claim().claims}
    bench.discard(claims["a"])
    assert ask(bench, backfill, "a") == {
        "a": PartitionState(number, MaterializationState.DISCARDED)
    }
    assert len(bench.store.materializations.latest()) == 2
    assert {event.source for event in bench.store.events.latest()} == {"backfill:1"}
    assert begin(bench, force=True)[0].id == 2


def test_completed_or_active_partition_is_not_requested(bench):
    bench.make("alone", "done")
    other = bench.ask("alone", "way")
    bench.make("items", "new")
    backfill, _ = begin(bench)
    assert ask(bench, backfill, "done", "way") == {
        "done": PartitionState(completed=True),
        "way": PartitionState(active=other.id),
    }
    assert bench.store.events.latest(source="backfill:1") == []
    assert ask(bench, backfill, "new")["new"].requested_id is not None


def test_by_force_all_is_asked_for_and_once_too(bench):
    bench.make("alone", "done")
    other = bench.ask("alone", "way")
    backfill, _ = begin(bench, force=True)
    asked = ask(bench, backfill, "done", "way")
    assert asked["way"].requested_id == other.id
    assert asked["done"].requested_id == other.id + 1
    assert ask(bench, backfill, "done", "way") == asked
    assert len(bench.store.events.latest(source="backfill:1")) == 2


def test_partition_states_are_returned(bench):
    bench.make("alone", "done")
    gone = bench.ask("alone", "gone")
    bench.store.materializations.cancel(gone.id, bench.assets, bench.now)
    bench.make("alone", "both")
    bench.ask("alone", "both")
    bench.claim()
    newest = bench.ask("alone", "both")
    assert states(bench, "both", "gone", "done") == {
        "both": PartitionState(completed=True, active=newest.id),
        "gone": PartitionState(),
        "done": PartitionState(completed=True),
    }
    assert [found.missing for found in states(bench, "both", "gone", "done").values()] == [
        False,
        True,
        False,
    ]
    assert set(states(bench, "both", "done", force=True).values()) == {PartitionState()}


def test_only_requests_of_this_backfill_count(bench):
    backfill, _ = begin(bench, force=True)
    other, _ = begin(bench)
    asked = ask(bench, backfill, "a")
    assert states(bench, "a", force=True, backfill=backfill) == asked
    assert states(bench, "a", force=True, backfill=other) == {"a": PartitionState()}


def test_the_states_of_materializations(bench):
    done = bench.make("alone", "done")
    way = bench.ask("alone", "way")
    assert bench.store.backfills.states([done.id, way.id, 99]) == {
        done.id: MaterializationState.COMPLETED,
        way.id: MaterializationState.PENDING,
    }
    assert bench.store.backfills.states([]) == {}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_read_costs_more_in_a_filled_store(bench, backend):
    backfill, _ = begin(bench)
    ask(bench, backfill, "x", "y")
    number = bench.make("alone", "p").id

    def costs():
        fresh = [f"new {len(bench.store.events.latest(limit=999))}"]
        return {
            "look": steps(bench.store, lambda: states(bench, "p", "q", backfill=backfill)),
            "ask": steps(bench.store, lambda: ask(bench, backfill, *fresh)),
            "ask again": steps(bench.store, lambda: ask(bench, backfill, *fresh)),
            "states": steps(bench.store, lambda: bench.store.backfills.states([number])),
            "finish": steps(bench.store, lambda: bench.store.backfills.finish(99, bench.now)),
        }

    before = costs()
    for other in range(100):
        bench.make("alone", f"other {other}")
    ask(bench, backfill, *(f"old {other}" for other in range(300)))
    for item in bench.claim(limit=400).claims:
        bench.complete(item)
    more = {name: cost - before[name] for name, cost in costs().items()}
    assert {name: cost for name, cost in more.items() if cost > 100} == {}
