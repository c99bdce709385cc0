"""Ticks in the store: whole or not at all, fenced, each key once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstone_core.errors import NotFoundError
from flowstone_core.model.event import Skipped
from flowstone_core.model.tick import SensorCheckpoint, Tick, TickOutcome
from flowstone_core.store import TickResult
from tests.statements import listening, refusing

STALE = TickResult(committed=False)


def everything(store):
    """All that a tick could have changed."""
    return (
        store.sensors.all(),
        store.ticks.latest(),
        store.events.latest(),
        store.materializations.latest(),
    )


def test_tick_events_and_materializations_commit_together(bench):
    bench.store.events.latest()
    result = bench.fire(
        bench.event("k1", "orders", "p1", '{"rows":[1,2]}'), bench.event("k2", "items", "p2")
    )
    assert result.tick == Tick(
        result.tick.id,
        "sensor:feed",
        TickOutcome.TRIGGERED,
        bench.tick().started_at,
        bench.now,
        events=2,
    )
    first, second = result.events
    assert (first.source, first.key, first.asset, first.partition) == (
        "sensor:feed",
        "k1",
        "orders",
        "p1",
    )
    assert (first.payload, second.payload) == ({"rows": [1, 2]}, None)
    assert first.created_at == bench.now
    assert {first.tick_id, second.tick_id} == {result.tick.id}
    assert [item.id for item in result.materializations] == [
        first.materialization_id,
        second.materialization_id,
    ]
    assert bench.store.ticks.latest() == [result.tick]
    assert bench.store.events.latest() == [second, first]
    assert bench.store.materializations.latest() == list(result.materializations)[::-1]
    assert bench.store.sensors.get("feed").checkpoint == SensorCheckpoint(1, "1", polled=True)


def test_a_new_materialization_is_pending_and_due(bench):
    (made,) = bench.fire(bench.event("k", "clean")).materializations
    assert (made.state, made.attempt, made.max_attempts) == ("pending", 0, 5)
    assert (made.requested_at, made.available_at) == (bench.now, bench.now)
    assert len(made.run_id) == 32


def test_materializations_are_numbered_in_the_order_of_their_events(bench):
    partitions = ["z", "b", "y", "a", "x"]
    result = bench.fire(*(bench.event(name, partition=name) for name in partitions))
    assert [event.partition for event in result.events] == partitions
    assert [item.partition for item in result.materializations] == partitions
    numbers = [item.id for item in result.materializations]
    assert numbers == sorted(numbers)


def test_a_key_that_the_source_has_had_is_counted_and_makes_nothing(bench):
    bench.fire(bench.event("k", partition="p1"))
    result = bench.fire(bench.event("k", partition="p2"), bench.event("new", partition="p3"))
    assert (result.tick.events, result.tick.duplicates) == (1, 1)
    assert [event.key for event in result.events] == ["new"]
    assert [item.partition for item in result.materializations] == ["p3"]
    assert bench.store.ticks.latest()[0] == result.tick


def test_a_key_twice_in_one_tick_is_one_event_the_first(bench):
    result = bench.fire(bench.event("k", partition="p1"), bench.event("k", partition="p2"))
    assert [event.partition for event in result.events] == ["p1"]
    assert (result.tick.events, result.tick.duplicates) == (1, 1)


def test_a_key_belongs_to_its_source(bench):
    bench.fire(bench.event("k"))
    assert len(bench.fire(bench.event("k"), sensor="drop").events) == 1


def test_event_for_a_pending_one_joins_it(bench):
    (made,) = bench.fire(bench.event("k1"), bench.event("k2")).materializations
    result = bench.fire(bench.event("k3"), sensor="drop")
    assert result.materializations == ()
    assert result.events[0].materialization_id == made.id
    assert [event.key for event in bench.store.materializations.events(made.id)] == [
        "k1",
        "k2",
        "k3",
    ]


def test_event_for_a_started_one_creates_the_next_one(bench):
    (first,) = bench.fire(bench.event("k1")).materializations
    bench.claim()
    (second,) = bench.fire(bench.event("k2")).materializations
    assert second.id != first.id
    assert [event.key for event in bench.store.materializations.events(second.id)] == ["k2"]


@pytest.mark.parametrize(
    "interfere",
    [
        lambda bench: bench.store.sensors.pause("feed"),
        lambda bench: bench.store.sensors.reset("feed"),
        lambda bench: bench.store.runners.stop("one", bench.now),
        lambda bench: bench.commit(bench.tick("feed")),
    ],
    ids=["paused", "reset", "stopped", "ticked"],
)
def test_a_tick_whose_sensor_was_changed_meanwhile_writes_nothing(bench, interfere):
    commit = bench.tick("feed", bench.event("k"))
    interfere(bench)
    before = everything(bench.store)
    assert bench.commit(commit) == [STALE]
    assert everything(bench.store) == before


def test_a_reset_in_between_is_noticed_though_the_sensor_was_claimed_again(bench):
    commit = bench.tick("feed", bench.event("k"))
    bench.store.sensors.reset("feed")
    bench.store.sensors.claim("one", ["feed"], bench.now)
    assert bench.commit(commit) == [STALE]


def test_commit_after_lost_sensor_at_same_version_writes_nothing(bench):
    bench.runner("two")
    bench.store.runners.stop("one", bench.now)
    bench.store.sensors.claim("two", ["feed"], bench.now)
    assert bench.commit(bench.tick("feed", bench.event("k"))) == [STALE]
    (result,) = bench.commit(bench.tick("feed", bench.event("k")), owner="two")
    assert result.committed


def test_a_sensor_that_the_store_does_not_know_is_stale(bench):
    commit = replace(bench.tick("feed"), sensor="unheard")
    assert bench.commit(commit) == [STALE]


def test_one_stale_tick_does_not_take_the_others_with_it(bench):
    stale = bench.tick("feed", bench.event("k"))
    bench.store.sensors.pause("feed")
    results = bench.commit(stale, bench.tick("drop", bench.event("k")))
    assert [result.committed for result in results] == [False, True]
    assert [event.source for event in bench.store.events.latest()] == ["sensor:drop"]


def test_results_are_in_the_order_of_the_commits(bench):
    first = bench.tick("feed", bench.event("a"), bench.event("b", partition="q"))
    second = bench.tick("drop", bench.event("c"), bench.event("d", partition="r"))
    results = bench.commit(second, first)
    assert [result.tick.source for result in results] == ["sensor:drop", "sensor:feed"]
    assert [[event.key for event in result.events] for result in results] == [
        ["c", "d"],
        ["a", "b"],
    ]
    # What both asked for was made for the first of them.
    assert [[item.partition for item in result.materializations] for result in results] == [
        ["p", "r"],
        ["q"],
    ]


def test_two_ticks_of_one_sensor_in_one_transaction_follow_each_other(bench):
    first = bench.tick("feed", bench.event("a"))
    second = bench.tick("feed", bench.event("a"), bench.event("b"), before=first.after, state="2")
    results = bench.commit(first, second)
    assert [result.tick.events for result in results] == [1, 1]
    assert results[1].tick.duplicates == 1
    assert bench.store.sensors.get("feed").checkpoint == second.after


def test_the_same_tick_twice_in_one_transaction_is_committed_once(bench):
    commit = bench.tick("feed", bench.event("a"))
    results = bench.commit(commit, commit)
    assert [result.committed for result in results] == [True, False]


def test_failed_tick_keeps_the_version_and_next_is_not_stale(bench):
    bench.commit(bench.tick("feed", error="down", failures=1, state=None))
    assert bench.store.sensors.get("feed").checkpoint == SensorCheckpoint(0, None, failures=1)
    (result,) = bench.commit(bench.tick("feed", error="down", failures=2))
    assert result.committed
    assert result.tick.error == "down"


def test_multi_commit_tick_replayed_after_a_crash_fires_each_event_once(bench):
    before = bench.checkpoint["feed"]
    part = replace(bench.tick("feed", bench.event("a")), after=before)
    bench.commit(part)
    assert bench.store.sensors.get("feed").checkpoint == before
    bench.commit(part)
    bench.commit(bench.tick("feed", bench.event("b", partition="q")))
    assert [event.key for event in bench.store.events.latest()] == ["b", "a"]


def test_nothing_to_commit_is_nothing(bench):
    assert bench.commit() == []


def test_a_good_tick_may_find_nothing(bench):
    result = bench.fire()
    assert (result.events, result.materializations) == ((), ())
    assert result.tick.outcome is TickOutcome.NOT_TRIGGERED


def test_an_asset_that_no_pipeline_has_undoes_the_whole_transaction(bench):
    before = everything(bench.store)
    good = bench.tick("drop", bench.event("good"))
    with pytest.raises(NotFoundError, match=r"unknown asset 'oders'.*'orders'"):
        bench.commit(good, bench.tick("feed", bench.event("bad", asset="oders")))
    assert everything(bench.store) == before


STATEMENTS = ["sensors", "ticks", "events", "materializations"]


@pytest.mark.parametrize("table", STATEMENTS)
def test_whichever_statement_fails_nothing_is_written(bench, table):
    before = everything(bench.store)
    with refusing(table), pytest.raises(RuntimeError, match="plug"):
        bench.commit(bench.tick("drop"), bench.tick("feed", bench.event("k")))
    assert everything(bench.store) == before
    assert bench.fire(bench.event("k")).tick.events == 1


def test_thousands_of_events_in_one_transaction(bench):
    events = [bench.event(f"k{number}", partition=f"p{number % 1_500}") for number in range(5_000)]
    result = bench.fire(*events)
    assert [event.key for event in result.events] == [event.key for event in events]
    assert [event.partition for event in result.events] == [event.partition for event in events]
    assert len(result.materializations) == 1_500
    numbers = {item.partition: item.id for item in result.materializations}
    assert all(event.materialization_id == numbers[event.partition] for event in result.events)
    again = bench.fire(*events, bench.event("new", partition="p0"))
    assert (again.tick.events, again.tick.duplicates) == (1, 5_000)
    assert again.materializations == ()


def test_hundreds_of_ticks_in_one_transaction(bench):
    names = [f"sensor-{number:03}" for number in range(700)]
    bench.store.sensors.declare(names, bench.now)
    bench.checkpoint |= bench.store.sensors.claim("one", names, bench.now)
    results = bench.commit(*(bench.tick(name, bench.event("k")) for name in names))
    assert [result.tick.source for result in results] == [f"sensor:{name}" for name in names]
    assert [len(result.materializations) for result in results] == [1] + [0] * 699


def test_statements_per_transaction_do_not_grow_with_the_store(bench):
    def statements(*events):
        found = []
        with listening(found.append):
            bench.fire(*events)
        return len(found)

    few = statements(bench.event("first", partition="p0"))
    bench.fire(*(bench.event(f"k{number}", partition=f"p{number}") for number in range(1, 900)))
    assert statements(bench.event("last", partition="p900")) == few
    many = [bench.event(f"m{number}", partition=f"q{number}") for number in range(400)]
    assert statements(*many) == few


def test_ticks_are_listed_newest_first_in_pages(bench):
    for number in range(5):
        bench.commit(bench.tick("feed", bench.event(f"k{number}")))
        bench.commit(bench.tick("drop"))
    page = bench.store.ticks.latest(source="sensor:feed", limit=2)
    assert [tick.events for tick in page] == [1, 1]
    rest = bench.store.ticks.latest(source="sensor:feed", before_id=page[-1].id)
    assert len(rest) == 3
    assert bench.store.ticks.latest(limit=1)[0].source == "sensor:drop"
    numbers = [tick.id for tick in bench.store.ticks.latest()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 10


def test_ticks_that_leave_items_out_are_stored_with_count_and_example(bench):
    left_out = (Skipped("no date in the key", 2, "in/upload.tmp"), Skipped("too old", 2**31 - 1))
    bench.fire(bench.event("k", partition="p"))
    (result,) = bench.commit(replace(bench.tick(), skipped=left_out))
    bench.fire(bench.event("l", partition="p"))
    assert (result.tick.skipped, result.tick.skipped_items) == (2**31 - 1, left_out)
    assert result.tick.outcome is TickOutcome.NOT_TRIGGERED
    assert bench.store.ticks.latest("sensor:feed", skipping=True) == [result.tick]
    assert bench.store.ticks.latest("sensor:feed")[1] == result.tick
    assert bench.store.ticks.latest("sensor:other", skipping=True) == []
