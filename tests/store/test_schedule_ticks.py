"""Schedules: commits of their ticks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import NotFoundError
from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    Skip,
    SkipReason,
    Tick,
    TickOutcome,
)
from flowstone_core.store import TickResult, schema
from tests.statements import refusing
from tests.store.schedule_desk import event, everything, given

STALE = TickResult(committed=False)


# -- ticks -----------------------------------------------------------------------------------------


def taken_over(desk):
    desk.store.runners.stop("one", desk.now)
    desk.claim(runner="two")


@pytest.mark.parametrize(
    "interfere",
    [
        lambda desk: desk.store.schedules.pause("nightly"),
        lambda desk: desk.edit({"overlap": "allow"}),
        lambda desk: desk.declare(given(overlap="allow")),
        lambda desk: desk.store.schedules.remove("nightly"),
        lambda desk: desk.store.runners.stop("one", desk.now),
        taken_over,
        lambda desk: desk.commit(desk.tick()),
    ],
    ids=["paused", "edited", "declared", "removed", "stopped", "taken over", "ticked"],
)
def test_a_tick_whose_schedule_was_changed_meanwhile_writes_nothing(desk, interfere):
    desk.declare()
    desk.claim()
    commit = desk.tick(event("k"), skips=desk.missed())
    interfere(desk)
    before = everything(desk.store)
    assert desk.commit(commit) == [STALE]
    assert everything(desk.store) == before


@pytest.mark.parametrize("change", ["edited", "paused and resumed"])
def test_commit_after_change_and_second_claim_is_stale(desk, change):
    desk.create()
    desk.claim()
    commit = desk.tick(event("k"))
    if change == "edited":
        desk.edit(given(overlap="allow"))
    else:
        desk.store.schedules.pause("nightly")
        desk.resume()
    desk.claim()
    assert desk.commit(commit) == [STALE]


def test_commit_for_unowned_or_unknown_schedule_is_stale(desk):
    desk.create()
    commit = desk.tick(event("k"))
    assert desk.commit(commit, replace(commit, schedule="unheard")) == [STALE, STALE]


def test_a_sensors_owner_is_not_a_schedules_of_the_same_name(desk):
    desk.create("feed")
    assert desk.commit(desk.tick(event("k"), name="feed")) == [STALE]


def test_tick_events_skips_and_materializations_commit_together(desk):
    desk.create()
    desk.claim()
    commit = desk.tick(event("k1"), event("k2"), skips=desk.missed(SkipReason.OVERLAP))
    (result,) = desk.commit(commit)
    assert result.committed
    assert result.skips == commit.skips
    assert result.tick == Tick(
        result.tick.id,
        "schedule:nightly",
        TickOutcome.TRIGGERED,
        commit.started_at,
        commit.finished_at,
        events=2,
        skipped=3,
    )
    assert desk.store.ticks.latest() == [result.tick]
    assert desk.store.events.latest() == list(result.events)[::-1]
    assert [item.key for item in result.events] == ["k1", "k2"]
    assert desk.store.materializations.latest() == list(result.materializations)[::-1]
    stored = desk.store.skips.latest()
    assert [item.skip for item in stored] == list(commit.skips)[::-1]
    assert {item.tick_id for item in stored} == {result.tick.id}


def test_of_one_instant_there_is_one_event_whoever_finds_it_again(desk):
    desk.create("nightly")
    desk.create("hourly")
    desk.claim("nightly", "hourly")
    commit = desk.tick(event("k", "p1"))
    desk.commit(commit)
    back = sa.update(schema.schedules).values(version=commit.before.version)
    desk.store._database.write(lambda connection: connection.execute(back))
    (again,) = desk.commit(replace(commit, events=(event("k", "p2"), event("new"))))
    assert [item.key for item in again.events] == ["new"]
    assert (again.tick.events, again.tick.duplicates) == (1, 1)
    assert [item.partition for item in again.materializations] == ["new"]
    # A key belongs to its schedule.
    (other,) = desk.commit(desk.tick(event("k", "p3"), name="hourly"))
    assert other.tick.events == 1


def test_all_that_a_schedule_remembers_comes_back(desk):
    desk.create()
    desk.claim()
    after = {
        "decided_until": desk.now - timedelta(microseconds=1),
        "version": 2**40,
        "failures": 3,
        "not_before": desk.now + timedelta(microseconds=1),
    }
    desk.commit(desk.tick(error="no", **after))
    assert desk.get().checkpoint == ScheduleCheckpoint(**after)


def test_the_last_tick_shows_in_the_record(desk):
    desk.create()
    desk.claim()
    desk.commit(desk.tick())
    good = desk.now
    desk.bench.later(hours=1)
    desk.commit(desk.tick(error="down", failures=1))
    record = desk.get()
    assert (record.last_tick_at, record.last_outcome) == (desk.now, TickOutcome.FAILED)
    assert (record.last_good_at, record.last_error) == (good, "down")
    desk.bench.later(hours=1)
    desk.commit(desk.tick(event("k")))
    record = desk.get()
    assert (record.last_good_at, record.last_outcome) == (desk.now, TickOutcome.TRIGGERED)
    assert record.last_error is None


def test_sensors_and_schedules_are_committed_in_one_transaction(desk):
    desk.create("feed")  # of a sensor's name
    desk.create("nightly")
    desk.claim("feed", "nightly")
    results = desk.commit(
        desk.tick(event("k", "p1"), name="nightly", skips=desk.missed()),
        desk.bench.tick("feed", event("k", "p1"), event("s", "p2")),
        desk.tick(event("k", "p3"), name="feed"),
    )
    assert [result.tick.source for result in results] == [
        "schedule:nightly",
        "sensor:feed",
        "schedule:feed",
    ]
    assert [[item.partition for item in result.materializations] for result in results] == [
        ["p1"],
        ["p2"],
        ["p3"],
    ]
    assert [result.skips for result in results] == [desk.missed(), (), ()]
    assert desk.store.sensors.get("feed").checkpoint.version == 1
    assert [desk.get(name).checkpoint.version for name in ("feed", "nightly")] == [1, 1]
    assert {item.schedule for item in desk.store.skips.latest()} == {"nightly"}


def test_one_stale_tick_does_not_take_the_others_with_it(desk):
    for name in ("a", "b"):
        desk.create(name)
    desk.claim("a", "b")
    stale = desk.tick(event("k"), name="a", skips=desk.missed())
    good = desk.tick(event("k"), name="b", skips=desk.missed()[:1])
    sensed = desk.bench.tick("feed", event("k"))
    desk.store.schedules.pause("a")
    results = desk.commit(sensed, stale, good)
    assert [result.committed for result in results] == [True, False, True]
    assert [item.source for item in desk.store.events.latest()] == ["schedule:b", "sensor:feed"]
    assert [item.schedule for item in desk.store.skips.latest()] == ["b"]


def test_two_ticks_of_one_schedule_in_one_transaction_follow_each_other(desk):
    desk.create()
    desk.claim()
    first = desk.tick(event("k1"))
    second = desk.tick(event("k1"), event("k2"), before=first.after, decided_until=desk.at(2))
    results = desk.commit(first, second, second)
    assert [result.committed for result in results] == [True, True, False]
    assert [result.tick.events for result in results[:2]] == [1, 1]
    assert desk.get().checkpoint == second.after


def test_an_asset_that_no_pipeline_has_undoes_the_whole_transaction(desk):
    desk.create()
    desk.claim()
    before = everything(desk.store)
    with pytest.raises(NotFoundError, match=r"unknown asset 'oders'"):
        desk.commit(desk.tick(event("k", asset="oders"), skips=desk.missed()))
    assert everything(desk.store) == before


@pytest.mark.parametrize("table", ["schedules", "ticks", "skips", "events", "materializations"])
def test_whichever_statement_fails_nothing_is_written(desk, table):
    desk.create()
    desk.claim()
    before = everything(desk.store)
    with refusing(table), pytest.raises(RuntimeError, match="plug"):
        desk.commit(desk.tick(event("k"), skips=desk.missed()))
    assert everything(desk.store) == before


def test_skips_are_listed_newest_first_in_pages(desk):
    for name in ("a", "b"):
        desk.create(name)
    desk.claim("a", "b")
    uncounted = Skip(SkipReason.WINDOW, desk.at(1), desk.at(9), 1_000, complete=False)
    desk.commit(desk.tick(name="a", skips=(*desk.missed(), uncounted)))
    desk.commit(desk.tick(name="b", skips=desk.missed()))
    page = desk.store.skips.latest("a", limit=2)
    assert [item.skip for item in page] == [uncounted, desk.missed()[1]]
    rest = desk.store.skips.latest("a", before_id=page[-1].id)
    assert [item.skip for item in rest] == [desk.missed()[0]]
    numbers = [item.id for item in desk.store.skips.latest()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5
    assert [item.schedule for item in desk.store.skips.latest(limit=3)] == ["b", "b", "a"]
