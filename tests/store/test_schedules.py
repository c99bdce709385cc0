"""Schedules: declared, created, edited and removed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from flowstone_core.errors import ConflictError, NotFoundError, StoreError, ValidationError
from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    Tick,
    TickOutcome,
)
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, schema
from flowstone_core.store.schedule_edits import COMMAND
from tests.statements import listening
from tests.store.schedule_desk import GIVEN, event, everything, given


@pytest.fixture
def writes():
    """Collect the statements that write, from here on."""
    found = []

    def collect(statement):
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")):
            found.append(statement)

    with listening(collect):
        yield found


# -- declared --------------------------------------------------------------------------------------


def test_declared_schedule_starts_now_without_owner(desk):
    item = DeclaredSchedule("nightly", given(catchup="all"), "flow.ini:3")
    assert desk.store.schedules.declare([item], desk.now) == [item]
    record = ScheduleRecord(
        name="nightly",
        asset="orders",
        origin="flow.ini:3",
        declared=item.spec,
        edits=None,
        checkpoint=ScheduleCheckpoint(desk.now),
        paused=False,
        paused_because=None,
        owner=None,
        created_at=desk.now,
        edited_at=None,
    )
    assert desk.get() == record
    assert desk.get().spec == item.spec
    assert ScheduleRecord.new("nightly", item.spec, "flow.ini:3", desk.now) == record


def test_first_declaration_records_no_skips(desk):
    desk.declare(skips=desk.missed())
    assert desk.store.ticks.latest() == []


def test_declare_of_known_names_writes_nothing(desk, writes):
    items = [DeclaredSchedule(name, GIVEN, "flow.ini:3") for name in ("nightly", "hourly")]
    assert desk.store.schedules.declare(items, desk.now) == items
    writes.clear()
    desk.bench.later(hours=1)
    assert desk.store.schedules.declare(items[::-1], desk.now) == []
    assert desk.store.schedules.declare([], desk.now) == []
    assert writes == []


def test_declare_writes_only_changed_declarations(desk):
    items = [DeclaredSchedule(name, GIVEN, "flow.ini:3") for name in ("a", "b", "c")]
    desk.store.schedules.declare(items, desk.now)
    desk.claim("a", "b", "c")
    changed = replace(items[1], spec=given(overlap="allow"))
    assert desk.store.schedules.declare([items[0], changed, items[2]], desk.now) == [changed]
    assert [record.owner for record in desk.store.schedules.all()] == ["one", None, "one"]


def test_declaration_moved_in_its_file_keeps_the_owner(desk):
    desk.declare()
    desk.claim()
    before = desk.get()
    desk.bench.later(hours=4)
    assert len(desk.declare(where="flow.ini:9", skips=desk.missed())) == 1
    assert desk.get() == replace(before, origin="flow.ini:9")
    assert desk.store.ticks.latest() == []
    assert desk.declare(where="flow.ini:9") == []


def fail_and_change(desk, by, changes):
    """Change a schedule that has failed three times; return its checkpoint before."""
    desk.declare()
    desk.claim()
    failed = {"decided_until": desk.began, "failures": 3, "not_before": desk.at(9)}
    desk.commit(desk.tick(error="no", version=7, **failed))
    desk.bench.later(hours=4)
    if by == "a file":
        desk.declare(given(**changes), skips=desk.missed())
    else:
        desk.edit(changes, skips=desk.missed())
    return failed


@pytest.mark.parametrize(
    "changes",
    [
        {"trigger": "every"},
        {"text": "0 3 * * *"},
        {"timezone": "Europe/Warsaw"},
        {"start": "2025-02-01"},
        {"end": "2025-02-01"},
        {"enabled": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("by", ["a file", "a command"])
def test_changed_times_start_now_and_record_skips(desk, by, changes):
    fail_and_change(desk, by, changes)
    record = desk.get()
    assert record.checkpoint == ScheduleCheckpoint(desk.now, version=8)
    assert record.owner is None
    assert record.spec == given(**changes)
    tick = desk.store.ticks.latest()[0]
    assert tick == Tick(
        tick.id, "schedule:nightly", TickOutcome.SKIPPED, desk.now, desk.now, skipped=3
    )
    stored = desk.store.skips.latest()
    assert [item.skip for item in stored] == list(desk.missed())[::-1]
    assert {(item.schedule, item.tick_id) for item in stored} == {("nightly", tick.id)}


@pytest.mark.parametrize("by", ["a file", "a command"])
@pytest.mark.parametrize(
    "changes",
    [
        {"catchup": "all"},
        {"overlap": "allow"},
        {"asset": "items"},
        {"partition": "${year}"},
        {"pause_on_failure": True},
        {"timezone": "UTC"},
        {"enabled": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_settings_change_no_time_but_its_runner_learns_of_them(desk, by, changes):
    failed = fail_and_change(desk, by, changes)
    record = desk.get()
    assert record.checkpoint == ScheduleCheckpoint(version=8, **failed)
    assert (record.owner, record.spec) == (None, given(**changes))
    assert record.asset == changes.get("asset", "orders")
    assert len(desk.store.ticks.latest()) == 1
    assert desk.store.skips.latest() == []


def test_edits_stay_over_a_changed_declaration(desk):
    desk.declare()
    desk.edit({"text": "0 5 * * *", "asset": "items"})
    edited = desk.get()
    desk.bench.later(hours=4)
    desk.declare(given(text="0 3 * * *", asset="clean", overlap="allow"), skips=desk.missed())
    record = desk.get()
    assert record.spec == given(text="0 5 * * *", asset="items", overlap="allow")
    assert (record.edits, record.edited_at) == (edited.edits, edited.edited_at)
    assert record.asset == "items"
    # The times that are in force have not changed.
    assert record.checkpoint == replace(edited.checkpoint, version=edited.checkpoint.version + 1)
    assert desk.store.ticks.latest() == []


def test_added_schedule_that_is_declared_later_keeps_its_edits(desk):
    created = desk.create(text="0 5 * * *")
    assert (created.origin, created.declared) == (COMMAND, None)
    desk.bench.later(hours=4)
    desk.declare(given(catchup="all"), skips=desk.missed())
    record = desk.get()
    assert (record.origin, record.declared) == ("flow.ini:3", given(catchup="all"))
    assert record.spec == given(catchup="all", text="0 5 * * *")
    assert (record.created_at, record.checkpoint.decided_until) == (desk.began, desk.began)
    assert desk.declare(given(catchup="all")) == []


def test_a_changed_declaration_leaves_a_paused_schedule_paused(desk):
    desk.declare()
    desk.store.schedules.pause("nightly")
    desk.declare(given(text="0 3 * * *"))
    assert (desk.get().paused, desk.get().owner) == (True, None)


def test_of_a_name_that_is_declared_twice_the_last_one_counts(desk):
    items = [DeclaredSchedule("nightly", given(text=text), "flow.ini:3") for text in ("one", "two")]
    assert desk.store.schedules.declare(items, desk.now) == [items[1]]
    assert desk.get().spec["text"] == "two"


def test_many_schedules_are_declared_claimed_and_found_at_once(desk):
    names = [f"schedule-{number:04}" for number in range(1_203)]
    desk.store.schedules.declare([DeclaredSchedule(name, GIVEN, "x:1") for name in names], desk.now)
    assert list(desk.claim(*names)) == names
    assert [record.name for record in desk.store.schedules.all(names[::-1])] == names
    assert desk.store.survey("one", desk.now).schedules.count == len(names)
    commits = [desk.tick(event(name), name=name) for name in names[:700]]
    results = desk.commit(*commits)
    assert [result.tick.source for result in results] == [f"schedule:{n}" for n in names[:700]]


# -- created, edited, removed ----------------------------------------------------------------------


def test_a_created_schedule_begins_when_it_is_created(desk):
    record = desk.create(pause_on_failure=True)
    assert record == desk.get()
    assert record.checkpoint == ScheduleCheckpoint(desk.now)
    assert (record.declared, record.edits) == (None, given(pause_on_failure=True))
    assert (record.origin, record.created_at, record.edited_at) == (COMMAND, desk.now, desk.now)


def test_all_that_was_said_of_a_schedule_comes_back(desk):
    said = given(partition='größe "𝄞" \\u0000 ${year}', jitter=0.5, none=None, list=[1, {"a": []}])
    assert desk.store.schedules.create("nightly", said, desk.now).spec == said


def test_settings_that_are_too_large_are_refused(desk):
    with pytest.raises(ValidationError, match="the schedule"):
        desk.create(partition="x" * 100_001)
    assert desk.store.schedules.all() == []


def test_a_second_schedule_of_a_name_is_refused_and_the_first_one_named(desk):
    desk.declare(given(asset="items"))
    before = desk.store.schedules.all()
    refusal = r"duplicate schedule 'nightly', for asset items \(flow.ini:3\)"
    with pytest.raises(ConflictError, match=refusal):
        desk.create()
    assert desk.store.schedules.all() == before


def test_schedules_are_listed_by_name_without_unknown_ones(desk):
    for name in ("b", "c", "a"):
        desk.create(name)
    assert [record.name for record in desk.store.schedules.all()] == ["a", "b", "c"]
    assert [record.name for record in desk.store.schedules.all(["c", "z", "a"])] == ["a", "c"]
    assert desk.store.schedules.all([]) == []


def test_an_edit_replaces_all_that_was_said_at_run_time(desk):
    desk.declare()
    desk.edit({"overlap": "allow", "catchup": "all"})
    desk.bench.later(hours=1)
    record = desk.edit({"overlap": "buffer_one"})
    assert record == desk.get()
    assert (record.edits, record.edited_at) == ({"overlap": "buffer_one"}, desk.now)
    assert (record.declared, record.spec) == (GIVEN, given(overlap="buffer_one"))
    record = desk.edit(None)
    assert (record.edits, record.spec) == (None, GIVEN)


def test_edit_with_an_old_version_writes_nothing(desk):
    desk.declare()
    version = desk.get().checkpoint.version
    desk.claim()
    desk.commit(desk.tick())
    before = everything(desk.store)
    assert desk.edit({"text": "0 3 * * *"}, skips=desk.missed(), version=version) is None
    assert everything(desk.store) == before


def test_an_edit_that_skips_nothing_writes_no_tick(desk):
    desk.declare()
    desk.edit({"text": "0 3 * * *"})
    assert desk.store.ticks.latest() == []


def test_the_database_itself_refuses_a_schedule_of_which_nothing_is_said(desk):
    desk.create()
    nothing = sa.update(schema.schedules).values(edits=None)
    with pytest.raises(StoreError, match=r"(?i)check constraint"):
        desk.store._database.write(lambda connection: connection.execute(nothing))


def test_a_removed_schedule_is_gone_and_its_history_stays(desk):
    desk.create()
    desk.claim()
    desk.commit(desk.tick(event("k"), skips=desk.missed()))
    history = everything(desk.store)[1:]
    desk.store.schedules.remove("nightly")
    assert desk.store.schedules.all() == []
    assert everything(desk.store)[1:] == history
    # One of the same name begins anew; but it does not fire twice for one instant.
    assert desk.create().checkpoint == ScheduleCheckpoint(desk.now)
    desk.claim()
    (result,) = desk.commit(desk.tick(event("k")))
    assert (result.tick.events, result.tick.duplicates) == (0, 1)


@pytest.mark.parametrize(
    "action",
    [
        lambda store, name: store.schedules.get(name),
        lambda store, name: store.schedules.remove(name),
        lambda store, name: store.schedules.pause(name),
        lambda store, name: store.schedules.resume(name, 0, (), None),
        lambda store, name: store.schedules.edit(name, 0, {}, (), None),
    ],
    ids=["get", "remove", "pause", "resume", "edit"],
)
def test_a_schedule_that_is_not_there_is_named_with_the_nearest(desk, action):
    with pytest.raises(NotFoundError, match=r"unknown schedule 'nigthly'.*schedules list shows"):
        action(desk.store, "nigthly")
    desk.create()
    with pytest.raises(NotFoundError, match=r"unknown schedule 'nigthly'.*did you mean 'nightly'"):
        action(desk.store, "nigthly")
    assert len(desk.store.schedules.all()) == 1
