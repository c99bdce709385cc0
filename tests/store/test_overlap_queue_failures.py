"""Overlap queue: counts, pauses after failures, and costs."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa

from flowstone_core.store import Store, overlap_queue, schema
from tests.store.overlap_line import ENDS, Line, lose
from tests.store.sqlite_steps import steps

# -- counting --------------------------------------------------------------------------------------


def test_active_counts_unfinished_ones_of_a_source(line):
    count = line.store.materializations.active
    assert count("schedule:a") == 0
    line.fire("p1")
    assert count("schedule:a") == 1
    line.fire("p2", "p3")
    assert (count("schedule:a"), count("schedule:a", 10), count("schedule:b")) == (2, 3, 0)
    (first,) = line.start()
    assert count("schedule:a", 10) == 3
    line.bench.fail(line.claims[first])
    assert count("schedule:a", 10) == 3
    line.cancel(first)
    assert count("schedule:a", 10) == 2
    line.drain()
    assert count("schedule:a", 10) == 0


def test_active_counts_joined_but_not_other_sources(line):
    by_hand = line.bench.ask("alone", "p").id
    line.bench.ask("alone", "q")
    assert line.store.materializations.active("schedule:a") == 0
    assert line.fire("p", "p") == [by_hand, by_hand]
    assert line.store.materializations.active("schedule:a") == 1


def test_active_ignores_one_behind_a_hundred_newer_ones(line):
    (old,) = line.fire("old", sequential=False)
    line.start()
    count = overlap_queue.HISTORY_LIMIT - 1
    line.fire(*(f"p{number}" for number in range(count)), sequential=False)
    for number in line.start():
        line.complete(number)
    assert line.store.materializations.active("schedule:a") == 1
    (behind,) = line.fire("q1")
    assert line.standing() == {behind: old}
    line.cancel(behind)
    assert line.store.materializations.active("schedule:a") == 0
    line.fire("q2")
    assert line.standing() == {}


# -- pausing on failure ----------------------------------------------------------------------------


@pytest.fixture
def strict(line):
    """The line, and a schedule that pauses on failure."""
    line.schedule("strict", "other", pause_on_failure=True)
    return line


def test_discard_pauses_a_schedule_with_pause_on_failure(strict):
    (number,) = strict.fire("p", name="strict")
    before = strict.store.schedules.get("strict")
    strict.start()
    strict.bench.discard(strict.claims[number])
    record = strict.store.schedules.get("strict")
    assert (record.paused, record.owner) == (True, None)
    assert record.paused_because == f"materialization #{number} was discarded"
    assert record.checkpoint.version == before.checkpoint.version + 1
    assert record.checkpoint.decided_until == before.checkpoint.decided_until


def test_a_tick_that_began_before_the_failure_is_stale(strict):
    (number,) = strict.fire("p", name="strict")
    strict.start()
    late = strict.tick("q", name="strict")
    strict.bench.discard(strict.claims[number])
    (result,) = strict.store.ticks.commit("one", [late], strict.bench.assets, strict.bench.now)
    assert not result.committed


@pytest.mark.parametrize("how", ["by loss", "for its dependency"])
def test_however_it_was_discarded_its_schedule_pauses(strict, how):
    asset = "alone" if how == "by loss" else "clean"
    (number,) = strict.fire("p", name="strict", asset=asset)
    (started,) = strict.start()
    if how == "by loss":
        lose(strict, strict.claims[number])
    else:
        strict.bench.discard(strict.claims[started])
        assert not strict.store.schedules.get("strict").paused
        strict.start()
    assert strict.bench.get(number).state == "discarded"
    assert strict.store.schedules.get("strict").paused_because.startswith(
        f"materialization #{number} "
    )


@pytest.mark.parametrize("end", ["completed", "cancelled", "retried"])
def test_no_other_end_pauses_a_schedule(strict, end):
    (number,) = strict.fire("p", name="strict")
    strict.start()
    claim = strict.claims[number]
    if end == "retried":
        strict.bench.fail(claim)
    else:
        ENDS[end](strict, claim)
    assert not any(record.paused for record in strict.store.schedules.all())


def test_only_those_pause_that_asked_for_it_and_want_to(strict):
    wanted = strict.commit(
        strict.bench.tick("feed", strict.bench.event("k", "alone", "p")),
        strict.tick("p", name="a"),
        strict.tick("p", name="strict"),
        strict.tick("q", name="other"),
    )
    number = wanted[0]
    assert wanted[:3] == [number] * 3
    assert wanted[3] != number
    before = {record.name: record for record in strict.store.schedules.all()}
    strict.start()
    strict.bench.discard(strict.claims[number])
    after = {record.name: record for record in strict.store.schedules.all()}
    assert {name for name in after if after[name] != before[name]} == {"strict"}
    assert not strict.store.sensors.get("feed").paused


def test_all_that_asked_for_it_pause(strict):
    (number, _) = strict.commit(strict.tick("p", name="strict"), strict.tick("p", name="other"))
    strict.start()
    strict.bench.discard(strict.claims[number])
    assert [record.name for record in strict.store.schedules.all() if record.paused] == [
        "other",
        "strict",
    ]


def test_a_schedule_that_is_paused_already_is_left_as_it_is(strict):
    (number,) = strict.fire("p", name="strict")
    before = strict.store.schedules.pause("strict")
    strict.start()
    strict.bench.discard(strict.claims[number])
    assert strict.store.schedules.get("strict") == before


def test_failure_for_a_sensor_of_the_same_name_pauses_nothing(strict):
    strict.store.sensors.declare(["strict"], strict.bench.now)
    strict.bench.checkpoint |= strict.store.sensors.claim("one", ["strict"], strict.bench.now)
    event = strict.bench.event("k", "alone")
    (made,) = strict.bench.fire(event, sensor="strict").materializations
    strict.start()
    strict.bench.discard(strict.claims[made.id])
    assert not strict.store.schedules.get("strict").paused


def test_paused_schedule_still_starts_queued_materializations(strict):
    first, second = strict.fire("p", "q", name="strict")
    strict.start()
    strict.bench.discard(strict.claims[first])
    assert strict.start() == [second]


def test_a_resumed_schedule_says_no_more_why_it_was_paused(strict):
    (number,) = strict.fire("p", name="strict")
    strict.start()
    strict.bench.discard(strict.claims[number])
    record = strict.store.schedules.resume(
        "strict", strict.store.schedules.get("strict").checkpoint.version, (), strict.bench.now
    )
    assert (record.paused, record.paused_because) == (False, None)


def test_failure_of_a_removed_schedule_pauses_nothing(strict):
    (number,) = strict.fire("p", name="strict")
    strict.start()
    strict.store.schedules.remove("strict")
    strict.bench.discard(strict.claims[number])
    assert strict.bench.get(number).state == "discarded"


# -- what it costs ---------------------------------------------------------------------------------


def fill(line, count):
    """Leave a history of the schedule behind, much that others asked for, and a line of three."""
    ended = sa.update(schema.materializations).values(
        state="completed", available_at=None, finished_at=line.bench.now
    )
    for name in ("a", "b"):
        partitions = [f"{name}{number}" for number in range(count)]
        line.fire(*partitions, name=name, sequential=False)
        line.store._database.write(lambda connection: connection.execute(ended))
    # Many that run, and as many that wait for them.
    assets = [(asset, f"{number}") for number in range(count) for asset in ("clean", "orders")]
    line.bench.fire(*(line.bench.event(f"{asset} {p}", asset, p) for asset, p in assets))
    assert len(line.bench.claim(10 * count).claims) == count
    return line.fire("first", "second", "third")


def costs(line, count):
    first, second, _ = fill(line, count)
    calls = {
        "count": lambda: line.store.materializations.active("schedule:a"),
        "line up": lambda: line.fire("fourth"),
        "start": line.start,
        "cancel in the middle": lambda: line.cancel(second),
        "end": lambda: line.complete(first),
        "start the next": line.start,
        "fail": lambda: line.bench.discard(line.claims.popitem()[1]),
    }
    return {name: steps(line.store, call) for name, call in calls.items()}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_line_costs_the_same_however_often_its_schedule_has_fired(line, tmp_path):
    with closing(Store.open(f"sqlite:///{tmp_path / 'filled.db'}")) as store:
        filled = Line(type(line.bench)(store))
        filled.schedule("a", "b")
        # As many as are looked back for: a look costs no more from there on.
        cost, more = costs(line, overlap_queue.HISTORY_LIMIT), costs(filled, 600)
    assert min(cost.values()) > 10
    assert {name: count for name, count in more.items() if count > cost[name] + 200} == {}
