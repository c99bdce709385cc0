"""Schedules in the store: declared, created, edited, owned, paused, and what their ticks commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import ConflictError, NotFoundError, StoreError, ValidationError
from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCheckpoint,
    ScheduleCommit,
    Skip,
    SkipReason,
    Tick,
    TickOutcome,
)
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, TickResult, schema
from flowstone_core.store.schedule_edits import COMMAND

GIVEN = {"asset": "orders", "trigger": "cron", "text": "0 2 * * *"}
STALE = TickResult(committed=False)


def given(**settings):
    return {**GIVEN, **settings}


def everything(store):
    """All that a tick or an edit could have changed."""
    return (
        store.schedules.all(),
        store.ticks.all(),
        store.skips.all(),
        store.events.all(),
        store.materializations.all(),
    )


class Desk:
    """Does to schedules what runners and operators do, at a time that is set."""

    def __init__(self, bench):
        self.bench, self.store, self.began = bench, bench.store, bench.now
        bench.runner("two")
        self.at = lambda hours: self.began + timedelta(hours=hours)

    @property
    def now(self):
        return self.bench.now

    def declare(self, settings=GIVEN, name="nightly", where="flow.ini:3", skips=()):
        return self.store.schedules.declare(
            [DeclaredSchedule(name, settings, where, skips)], self.now
        )

    def create(self, name="nightly", **settings):
        return self.store.schedules.create(name, given(**settings), self.now)

    def edit(self, edits, name="nightly", skips=(), version=None):
        if version is None:
            version = self.get(name).checkpoint.version
        return self.store.schedules.edit(name, version, edits, skips, self.now)

    def claim(self, *names, runner="one"):
        return self.store.schedules.claim(runner, names or ["nightly"], self.now)

    def get(self, name="nightly"):
        return self.store.schedules.get(name)

    def resume(self, skips=(), name="nightly"):
        return self.store.schedules.resume(name, self.get(name).checkpoint.version, skips, self.now)

    def missed(self, reason=SkipReason.EDITED):
        """What was skipped of three hours."""
        return (Skip(reason, self.at(1), self.at(2), 2), Skip(reason, self.at(3), self.at(3)))

    def tick(self, *events, name="nightly", skips=(), before=None, error=None, **after):
        """Make what a tick commits: a good one, unless it has an error."""
        before = before or self.get(name).checkpoint
        outcome = TickOutcome.TRIGGERED if events else TickOutcome.SKIPPED
        if error is not None:
            outcome = TickOutcome.FAILED
        after = {"decided_until": self.now, "version": before.version + 1, **after}
        started = self.now - timedelta(seconds=1)
        checkpoint = ScheduleCheckpoint(**after)
        return ScheduleCommit(
            name, outcome, started, self.now, before, checkpoint, events, error, skips
        )

    def commit(self, *commits, owner="one"):
        return self.store.ticks.commit(owner, commits, self.bench.assets, self.now)


@pytest.fixture
def desk(bench):
    return Desk(bench)


@pytest.fixture
def writes():
    """Collect the statements that write, from here on."""
    found = []

    def collect(connection, cursor, statement, parameters, context, executemany):
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")):
            found.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", collect)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", collect)


def event(key, partition=None, asset="orders"):
    return NewEvent(key, asset, partition or key)


# -- declared --------------------------------------------------------------------------------------


def test_a_declared_schedule_begins_when_it_is_declared_and_is_nobodys(desk):
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
    assert ScheduleRecord.unborn("nightly", item.spec, "flow.ini:3", desk.now) == record


def test_what_is_declared_for_the_first_time_skips_nothing(desk):
    desk.declare(skips=desk.missed())
    assert desk.store.ticks.all() == []


def test_declaring_what_is_known_writes_nothing(desk, writes):
    items = [DeclaredSchedule(name, GIVEN, "flow.ini:3") for name in ("nightly", "hourly")]
    assert desk.store.schedules.declare(items, desk.now) == items
    writes.clear()
    desk.bench.later(hours=1)
    assert desk.store.schedules.declare(items[::-1], desk.now) == []
    assert desk.store.schedules.declare([], desk.now) == []
    assert writes == []


def test_only_what_changed_is_declared_again(desk):
    items = [DeclaredSchedule(name, GIVEN, "flow.ini:3") for name in ("a", "b", "c")]
    desk.store.schedules.declare(items, desk.now)
    desk.claim("a", "b", "c")
    changed = replace(items[1], spec=given(overlap="allow"))
    assert desk.store.schedules.declare([items[0], changed, items[2]], desk.now) == [changed]
    assert [record.owner for record in desk.store.schedules.all()] == ["one", None, "one"]


def test_a_declaration_that_moved_in_its_file_disturbs_nobody(desk):
    desk.declare()
    desk.claim()
    before = desk.get()
    desk.bench.later(hours=4)
    assert len(desk.declare(where="flow.ini:9", skips=desk.missed())) == 1
    assert desk.get() == replace(before, origin="flow.ini:9")
    assert desk.store.ticks.all() == []
    assert desk.declare(where="flow.ini:9") == []


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
def test_other_times_begin_now_and_what_was_missed_before_is_skipped(desk, by, changes):
    desk.declare()
    desk.claim()
    failed = {"decided_until": desk.began, "failures": 3, "not_before": desk.at(9)}
    desk.commit(desk.tick(error="no", version=7, **failed))
    desk.bench.later(hours=4)
    if by == "a file":
        desk.declare(given(**changes), skips=desk.missed())
    else:
        desk.edit(changes, skips=desk.missed())
    record = desk.get()
    assert record.checkpoint == ScheduleCheckpoint(desk.now, version=8)
    assert record.owner is None
    assert record.spec == given(**changes)
    tick = desk.store.ticks.all()[0]
    assert tick == Tick(
        tick.id, "schedule:nightly", TickOutcome.SKIPPED, desk.now, desk.now, skipped=3
    )
    stored = desk.store.skips.all()
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
    desk.declare()
    desk.claim()
    failed = {"decided_until": desk.began, "failures": 3, "not_before": desk.at(9)}
    desk.commit(desk.tick(error="no", version=7, **failed))
    desk.bench.later(hours=4)
    if by == "a file":
        desk.declare(given(**changes), skips=desk.missed())
    else:
        desk.edit(changes, skips=desk.missed())
    record = desk.get()
    assert record.checkpoint == ScheduleCheckpoint(version=8, **failed)
    assert (record.owner, record.spec) == (None, given(**changes))
    assert record.asset == changes.get("asset", "orders")
    assert len(desk.store.ticks.all()) == 1
    assert desk.store.skips.all() == []


def test_what_was_said_at_run_time_stays_over_a_changed_declaration(desk):
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
    assert desk.store.ticks.all() == []


def test_a_schedule_of_a_command_that_is_declared_later_keeps_what_was_said_of_it(desk):
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
    assert desk.store.schedules.unowned("one") == {}
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


def test_what_is_too_large_is_refused(desk):
    with pytest.raises(ValidationError, match="the schedule"):
        desk.create(partition="x" * 100_001)
    assert desk.store.schedules.all() == []


def test_a_second_schedule_of_a_name_is_refused_and_the_first_one_named(desk):
    desk.declare(given(asset="items"))
    before = desk.store.schedules.all()
    refusal = r"already a schedule 'nightly', for asset items \(flow.ini:3\)"
    with pytest.raises(ConflictError, match=refusal):
        desk.create()
    assert desk.store.schedules.all() == before


def test_schedules_are_listed_by_name_and_those_that_are_not_there_are_left_out(desk):
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


def test_an_edit_of_what_has_changed_meanwhile_writes_nothing(desk):
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
    assert desk.store.ticks.all() == []


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
    with pytest.raises(NotFoundError, match=r"no schedule 'nigthly'.*schedules list shows"):
        action(desk.store, "nigthly")
    desk.create()
    with pytest.raises(NotFoundError, match=r"no schedule 'nigthly'.*did you mean 'nightly'"):
        action(desk.store, "nigthly")
    assert len(desk.store.schedules.all()) == 1


# -- paused ----------------------------------------------------------------------------------------


def test_a_paused_schedule_is_taken_from_its_runner(desk):
    desk.create()
    desk.claim()
    before = desk.get()
    record = desk.store.schedules.pause("nightly")
    assert record == desk.get()
    assert (record.paused, record.paused_because, record.owner) == (True, None, None)
    assert record.checkpoint == replace(before.checkpoint, version=before.checkpoint.version + 1)


def test_pausing_what_is_paused_changes_nothing(desk):
    desk.create()
    record = desk.store.schedules.pause("nightly")
    assert desk.store.schedules.pause("nightly") == record


def test_a_resumed_schedule_goes_on_from_now_and_what_it_missed_is_skipped(desk):
    desk.create()
    desk.claim()
    desk.commit(desk.tick(error="no", failures=3, not_before=desk.at(9)))
    paused = desk.store.schedules.pause("nightly")
    desk.bench.later(hours=4)
    record = desk.resume(desk.missed(SkipReason.PAUSED))
    assert record == desk.get()
    assert record.checkpoint == ScheduleCheckpoint(desk.now, version=paused.checkpoint.version + 1)
    assert (record.paused, record.paused_because, record.owner) == (False, None, None)
    tick = desk.store.ticks.all()[0]
    assert (tick.outcome, tick.started_at, tick.skipped) == (TickOutcome.SKIPPED, desk.now, 3)
    assert {item.skip.reason for item in desk.store.skips.all()} == {SkipReason.PAUSED}


def test_what_was_worked_out_before_it_changed_resumes_nothing(desk):
    desk.create()
    paused = desk.store.schedules.pause("nightly").checkpoint.version
    desk.resume()
    desk.store.schedules.pause("nightly")
    before = everything(desk.store)
    assert desk.store.schedules.resume("nightly", paused, desk.missed(), desk.now) is None
    assert everything(desk.store) == before


def test_resuming_what_is_not_paused_changes_nothing(desk):
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


def test_claiming_takes_what_is_free_and_hands_out_what_is_known_of_it(desk):
    desk.create("a")
    desk.create("b")
    before = desk.get("a")
    (claimed,) = desk.claim("a", "unheard").values()
    assert replace(claimed, owner=None) == before
    assert set(desk.claim("a", "b", runner="two")) == {"b"}
    assert [record.owner for record in desk.store.schedules.all()] == ["one", "two"]
    assert desk.claim() == {}


def test_a_runner_may_claim_its_own_again_to_learn_what_was_decided(desk):
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


def test_the_schedules_of_a_runner_that_stops_are_free_and_those_of_others_are_not(desk):
    desk.create("a")
    desk.create("b")
    desk.claim("a")
    desk.claim("b", runner="two")
    before = desk.get("a")
    desk.store.runners.stop("one", desk.now)
    assert desk.get("a") == replace(before, owner=None)
    assert set(desk.claim("a", "b", runner="two")) == {"a", "b"}


def test_who_is_nobodys_is_listed_with_its_asset_unless_it_is_declared(desk):
    desk.create("created", asset="items")
    desk.create("own", asset="items")
    desk.declare(name="declared")
    desk.create("paused")
    desk.create("both")
    desk.declare(name="both")
    desk.claim("own")
    desk.store.schedules.pause("paused")
    free = {"created": "items", "declared": None, "paused": "orders", "both": None}
    assert desk.store.schedules.unowned("one") == free
    assert desk.store.schedules.unowned("two") == free


def test_those_of_runners_that_are_not_alive_are_listed_for_who_takes_over(desk):
    desk.bench.runner("short", timedelta(seconds=30))
    desk.bench.runner("mine", timedelta(seconds=30))
    for name, runner in (("a", "one"), ("b", "short"), ("c", "ghost"), ("d", "mine")):
        desk.create(name)
        desk.claim(name, runner=runner)
    assert desk.store.schedules.unowned("mine") == {}
    assert desk.store.schedules.unowned("mine", desk.now) == {"c": "orders"}
    late = desk.now + timedelta(seconds=30)
    assert desk.store.schedules.unowned("mine", late) == {"b": "orders", "c": "orders"}
    assert desk.store.schedules.unowned("one", late) == {
        "b": "orders",
        "c": "orders",
        "d": "orders",
    }


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
def test_a_change_in_between_is_noticed_though_the_schedule_was_claimed_again(desk, change):
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


def test_a_schedule_that_is_nobodys_or_not_there_is_stale(desk):
    desk.create()
    commit = desk.tick(event("k"))
    assert desk.commit(commit, replace(commit, schedule="unheard")) == [STALE, STALE]


def test_a_sensors_owner_is_not_a_schedules_of_the_same_name(desk):
    desk.create("feed")
    assert desk.commit(desk.tick(event("k"), name="feed")) == [STALE]


def test_a_tick_its_events_skips_and_materializations_are_committed_together(desk):
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
    assert desk.store.ticks.all() == [result.tick]
    assert desk.store.events.all() == list(result.events)[::-1]
    assert [item.key for item in result.events] == ["k1", "k2"]
    assert desk.store.materializations.all() == list(result.materializations)[::-1]
    stored = desk.store.skips.all()
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
    assert {item.schedule for item in desk.store.skips.all()} == {"nightly"}


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
    assert [item.source for item in desk.store.events.all()] == ["schedule:b", "sensor:feed"]
    assert [item.schedule for item in desk.store.skips.all()] == ["b"]


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
    with pytest.raises(NotFoundError, match=r"no pipeline has an asset 'oders'"):
        desk.commit(desk.tick(event("k", asset="oders"), skips=desk.missed()))
    assert everything(desk.store) == before


@pytest.mark.parametrize("table", ["schedules", "ticks", "skips", "events", "materializations"])
def test_whichever_statement_fails_nothing_is_written(desk, table):
    desk.create()
    desk.claim()
    before = everything(desk.store)

    def refuse(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith(("INSERT", "UPDATE")) and f" flowstone_{table} " in statement:
            raise RuntimeError("the plug is pulled")

    sa.event.listen(sa.Engine, "after_cursor_execute", refuse)
    try:
        with pytest.raises(RuntimeError, match="plug"):
            desk.commit(desk.tick(event("k"), skips=desk.missed()))
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", refuse)
    assert everything(desk.store) == before


def test_what_was_skipped_is_listed_the_latest_first_in_pages(desk):
    for name in ("a", "b"):
        desk.create(name)
    desk.claim("a", "b")
    uncounted = Skip(SkipReason.WINDOW, desk.at(1), desk.at(9), 1_000, complete=False)
    desk.commit(desk.tick(name="a", skips=(*desk.missed(), uncounted)))
    desk.commit(desk.tick(name="b", skips=desk.missed()))
    page = desk.store.skips.all("a", limit=2)
    assert [item.skip for item in page] == [uncounted, desk.missed()[1]]
    rest = desk.store.skips.all("a", before_id=page[-1].id)
    assert [item.skip for item in rest] == [desk.missed()[0]]
    numbers = [item.id for item in desk.store.skips.all()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5
    assert [item.schedule for item in desk.store.skips.all(limit=3)] == ["b", "b", "a"]
