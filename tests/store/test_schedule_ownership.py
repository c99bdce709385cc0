"""Schedules: paused, resumed and owned."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import StoreError
from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    SkipReason,
    TickOutcome,
)
from flowstone_core.store import schema
from tests.store.schedule_desk import everything

# -- paused ----------------------------------------------------------------------------------------


def test_a_paused_schedule_is_taken_from_its_runner(desk):
    desk.create()
    desk.claim()
    before = desk.get()
    record = desk.store.schedules.pause("nightly")
    assert record == desk.get()
    assert (record.paused, record.paused_because, record.owner) == (True, None, None)
    assert record.checkpoint == replace(before.checkpoint, version=before.checkpoint.version + 1)


def test_pause_of_a_paused_schedule_changes_nothing(desk):
    desk.create()
    record = desk.store.schedules.pause("nightly")
    assert desk.store.schedules.pause("nightly") == record


def test_resume_starts_from_now_and_records_skips(desk):
    desk.create()
    desk.claim()
    desk.commit(desk.tick(error="no", failures=3, not_before=desk.at(9)))
    paused = desk.store.schedules.pause("nightly")
    desk.bench.later(hours=4)
    record = desk.resume(desk.missed(SkipReason.PAUSED))
    assert record == desk.get()
    assert record.checkpoint == ScheduleCheckpoint(desk.now, version=paused.checkpoint.version + 1)
    assert (record.paused, record.paused_because, record.owner) == (False, None, None)
    tick = desk.store.ticks.latest()[0]
    assert (tick.outcome, tick.started_at, tick.skipped) == (TickOutcome.SKIPPED, desk.now, 3)
    assert {item.skip.reason for item in desk.store.skips.latest()} == {SkipReason.PAUSED}


def test_resume_with_an_old_version_writes_nothing(desk):
    desk.create()
    paused = desk.store.schedules.pause("nightly").checkpoint.version
    desk.resume()
    desk.store.schedules.pause("nightly")
    before = everything(desk.store)
    assert desk.store.schedules.resume("nightly", paused, desk.missed(), desk.now) is None
    assert everything(desk.store) == before


def test_resume_of_a_running_schedule_changes_nothing(desk):
    desk.create()
    desk.claim()
    desk.commit(desk.tick(error="no", failures=3, not_before=desk.at(9)))
    before = everything(desk.store)
    desk.bench.later(hours=4)
    record = desk.resume(desk.missed(SkipReason.PAUSED))
    assert [record] == before[0]
    assert everything(desk.store) == before


def test_the_database_itself_refuses_a_paused_schedule_with_an_owner(desk):
    desk.create()
    desk.claim()
    paused = sa.update(schema.schedules).values(paused=True)
    with pytest.raises(StoreError, match=r"(?i)check constraint"):
        desk.store._database.write(lambda connection: connection.execute(paused))


# -- owned -----------------------------------------------------------------------------------------


def test_claim_takes_free_schedules_and_returns_records(desk):
    desk.create("a")
    desk.create("b")
    before = desk.get("a")
    (claimed,) = desk.claim("a", "unheard").values()
    assert replace(claimed, owner=None) == before
    assert set(desk.claim("a", "b", runner="two")) == {"b"}
    assert [record.owner for record in desk.store.schedules.all()] == ["one", "two"]
    assert desk.claim() == {}


def test_second_claim_by_the_owner_returns_the_record(desk):
    desk.create()
    desk.claim()
    desk.commit(commit := desk.tick())
    assert desk.claim()["nightly"].checkpoint == commit.after


def test_a_paused_schedule_cannot_be_claimed_until_it_is_resumed(desk):
    desk.create()
    desk.store.schedules.pause("nightly")
    assert desk.claim() == {}
    desk.resume()
    assert set(desk.claim()) == {"nightly"}


def test_the_schedules_of_a_runner_are_free_at_the_end_of_its_lease(desk):
    desk.bench.runner("short", timedelta(seconds=30))
    desk.create()
    desk.claim(runner="short")
    desk.bench.later(seconds=29.999999)
    assert desk.claim() == {}
    desk.bench.later(microseconds=1)
    assert set(desk.claim()) == {"nightly"}
    assert desk.get().owner == "one"


def test_stopped_runner_frees_only_its_own_schedules(desk):
    desk.create("a")
    desk.create("b")
    desk.claim("a")
    desk.claim("b", runner="two")
    before = desk.get("a")
    desk.store.runners.stop("one", desk.now)
    assert desk.get("a") == replace(before, owner=None)
    assert set(desk.claim("a", "b", runner="two")) == {"a", "b"}


def test_survey_lists_free_schedules_with_undeclared_assets(desk):
    desk.create("created", asset="items")
    desk.create("own", asset="items")
    desk.declare(name="declared")
    desk.create("paused")
    desk.create("both")
    desk.declare(name="both")
    desk.claim("own")
    desk.store.schedules.pause("paused")
    for runner, count in (("one", 1), ("two", 0)):
        found = desk.store.survey(runner, desk.now).schedules
        assert found.free == {"created": "items", "declared": None, "both": None}
        assert (found.paused, found.count) == ({"paused"}, count)
    assert desk.store.schedules.assets() == {
        "created": "items",
        "own": "items",
        "declared": None,
        "paused": "orders",
        "both": None,
    }


def test_released_schedules_are_those_that_the_runner_owns(desk):
    for name, runner in (("a", "one"), ("b", "one"), ("c", "two")):
        desk.create(name)
        desk.claim(name, runner=runner)
    desk.store.schedules.release("one", ["a", "c", "unheard"])
    assert [record.owner for record in desk.store.schedules.all()] == [None, "one", "two"]


def test_schedules_of_retired_and_unknown_runners_are_released(desk):
    desk.bench.runner("short", timedelta(seconds=30))
    for name, runner in (("a", "one"), ("b", "short"), ("c", "ghost")):
        desk.create(name)
        desk.claim(name, runner=runner)
    late = desk.now + timedelta(seconds=30)
    assert desk.store.peers.retire(["one", "short"], late) == {"short"}
    assert [record.owner for record in desk.store.schedules.all()] == ["one", None, "ghost"]
    assert desk.store.peers.release_orphans(late) == 1
    assert [record.owner for record in desk.store.schedules.all()] == ["one", None, None]
    assert desk.store.peers.release_orphans(late) == 0
