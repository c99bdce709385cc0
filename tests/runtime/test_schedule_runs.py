"""Schedules in a runner against a real store: what fires, what is skipped, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from flowstone_core.model.partition import decode_partition
from flowstone_core.model.tick import SkipReason
from tests.runtime.schedule_desk import (
    at,
    hour,
)

# -- the decision table ----------------------------------------------------------------------------
#
# An hourly schedule fired on time for 13:00, and what it asked for has ended or not. Then the
# machine sleeps until a moment, at which it may be resumed, be edited, or see its clock corrected.

SOON, LATE, SHARP = "13:30", "16:30", "16:00"
"""Nothing was missed; 14:00 to 16:00 were; 14:00 and 15:00 were, and 16:00 is on time."""

ALL = ("none", "latest", "all")
EVERY = ("skip", "buffer_one", "buffer_all", "allow")

CATCHUP, OVERLAP = SkipReason.CATCHUP, SkipReason.OVERLAP


@dataclass(frozen=True)
class Row:
    """What is expected.

    Attributes:
        fires: The instants fired for.
        skips: The ranges skipped.
        sequential: How many of those fired for have to wait for one another, or for the one before.
    """

    fires: tuple[str, ...] = ()
    skips: tuple[tuple[SkipReason, str, str, int], ...] = ()
    sequential: int = 0


def table():
    """Every row: policy, overlap, when it wakes, whether the last one runs, what happens then."""
    for catchup in ALL:
        for overlap in EVERY:
            for runs in (False, True):
                yield from undisturbed(catchup, overlap, runs)
                yield from disturbed(catchup, overlap, runs)


def undisturbed(catchup, overlap, runs):
    line = 0 if overlap == "allow" else 1
    behind = line if runs else 0
    case = (catchup, overlap, runs)

    yield (*case, SOON, "nothing"), Row()

    if catchup == "none":
        yield (*case, LATE, "nothing"), Row((), ((CATCHUP, "14:00", "16:00", 3),))
    elif catchup == "latest":
        skips = ((CATCHUP, "14:00", "15:00", 2),)
        yield (*case, LATE, "nothing"), Row(("16:00",), skips, behind)
    else:
        fires = ("14:00", "15:00", "16:00")
        yield (*case, LATE, "nothing"), Row(fires, (), 2 * line + behind)
        yield (*case, SHARP, "nothing"), Row(fires, (), 2 * line + behind)

    if catchup != "all":
        skips = ((CATCHUP, "14:00", "15:00", 2),)
        if runs and overlap == "skip":
            late = (*skips, (OVERLAP, "16:00", "16:00", 1))
            yield (*case, SHARP, "nothing"), Row((), late)
        else:
            yield (*case, SHARP, "nothing"), Row(("16:00",), skips, behind)


def disturbed(catchup, overlap, runs):
    case = (catchup, overlap, runs)
    for happening, reason in (
        ("paused", SkipReason.PAUSED),
        ("edited", SkipReason.EDITED),
        ("disabled", SkipReason.DISABLED),
    ):
        yield (*case, SOON, happening), Row()
        yield (*case, LATE, happening), Row((), ((reason, "14:00", "16:00", 3),))
        yield (*case, SHARP, happening), Row((), ((reason, "14:00", "16:00", 3),))
    # The clock goes back behind 13:00, which was fired for: it is not fired for again.
    yield (*case, "12:10", "nothing"), Row()


ROWS = list(table())


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("case", "expected"), ROWS, ids=["-".join(map(str, case)) for case, _ in ROWS]
)
def test_T5_T9_the_decision_table(desk, case, expected):
    catchup, overlap, runs, wakes, happening = case
    desk.schedule(catchup=catchup, overlap=overlap)
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    if not runs:
        assert desk.finish() == 1
    schedules = runner.schedules
    if happening == "paused":
        schedules.pause("report")
    if happening == "disabled":
        schedules.update("report", enabled=False)
    desk.look(runner)
    desk.sleep_until(at(wakes))
    if happening == "paused":
        schedules.resume("report")
    if happening == "disabled":
        schedules.update("report", enabled=True)
    if happening == "edited":
        schedules.update("report", cron="45 * * * *")
    desk.look(runner)
    fired = [hour(instant) for instant in desk.fired()[1:]]
    assert (tuple(fired), tuple(desk.skipped())) == (expected.fires, expected.skips)
    assert len(desk.waiting()) == expected.sequential
    # It goes on as if nothing had been: with each instant to come, once.
    while desk.clock.now() < at("17:45"):
        while desk.finish():
            pass
        desk.clock.advance(timedelta(minutes=_to_the_next_instant(desk.clock.now().minute)))
        desk.look(runner)
    to_come = ["16:45", "17:45"] if happening == "edited" else ["17:00"]
    later = [hour(instant) for instant in desk.fired() if instant > at("16:00")]
    assert later == to_come
    assert len(desk.fired()) == len(set(desk.fired()))


def _to_the_next_instant(minute):
    """Return the minutes to the next :00 or :45, the only times at which a row's schedule fires."""
    return 45 - minute if minute < 45 else 60 - minute


def test_decision_table_is_complete():
    cases = {case for case, _ in ROWS}
    assert len(cases) == len(ROWS) == 3 * 4 * 2 * (3 + 3 * 3 + 1)


# -- the day by day --------------------------------------------------------------------------------


def test_schedule_default_partition_is_the_local_date(desk):
    desk.schedule(cron="30 21 * * *", timezone="America/New_York", partition=None, overlap="allow")
    runner = desk.opened()
    desk.until(runner, datetime(2026, 1, 17, 3, tzinfo=UTC), step=timedelta(minutes=30))
    assert [decode_partition(event.partition) for event in desk.events()] == [
        date(2026, 1, 15),
        date(2026, 1, 16),
    ]
    assert [event.key for event in desk.events()] == [
        "2026-01-16T02:30:00Z",
        "2026-01-17T02:30:00Z",
    ]


def test_asset_function_gets_the_instant(desk):
    desk.schedule()
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    (event,) = desk.events()
    assert event.payload == {
        "schedule": "report",
        "instant": "2026-01-15T13:00:00Z",
        "timezone": "UTC",
    }
    assert (event.source, event.asset) == ("schedule:report", "report")


def test_partition_fn_gets_the_local_instant_or_no_argument(desk):
    seen = []
    desk.schedule(
        timezone="Asia/Kolkata",
        partition=None,
        partition_fn=lambda instant: seen.append(instant) or ("in", instant.date()),
    )
    desk.schedule(name="plain", partition=None, partition_fn=lambda: "now")
    runner = desk.opened()
    desk.until(runner, at("13:30"), step=timedelta(minutes=30))
    found = {event.source: decode_partition(event.partition) for event in desk.events()}
    assert found == {"schedule:report": ("in", date(2026, 1, 15)), "schedule:plain": "now"}
    assert [instant.isoformat() for instant in seen] == ["2026-01-15T19:00:00+05:30"]


def test_quiet_schedule_tick_writes_nothing(desk):
    desk.schedule(cron="0 0 * * *")
    runner = desk.opened()
    before = desk.store.schedules.get("report")
    desk.until(runner, at("20:00"))
    assert desk.store.schedules.get("report") == before
    assert desk.store.ticks.latest() == []


def test_T4_T5_machine_asleep_on_29_february_fires_for_it(desk):
    desk.clock.set_now(datetime(2028, 2, 28, 12, tzinfo=UTC))
    desk.schedule(cron="0 2 29 2 *", partition=None)
    runner = desk.opened()
    desk.sleep_until(datetime(2028, 3, 1, 1, tzinfo=UTC))
    desk.look(runner)
    assert [decode_partition(event.partition) for event in desk.events()] == [date(2028, 2, 29)]


def test_T5_instants_beyond_the_window_are_skipped_and_counted(desk):
    desk.schedule(catchup="all", catchup_window="2h", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("18:30"))
    desk.look(runner)
    assert desk.skipped() == [(SkipReason.WINDOW, "13:00", "16:00", 4)]
    assert desk.fired() == [at("17:00"), at("18:00")]


def test_instant_at_the_edge_of_the_window_fires(desk):
    desk.schedule(catchup="all", catchup_window="2h", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("18:00"))
    desk.look(runner)
    assert desk.fired() == [at("16:00"), at("17:00"), at("18:00")]


@pytest.mark.parametrize(("late", "fires"), [(60, 1), (61, 0)])
def test_instant_at_most_a_minute_late_is_on_time(desk, late, fires):
    desk.schedule(catchup="none")
    runner = desk.opened()
    desk.sleep_until(at("13:00") + timedelta(seconds=late))
    desk.look(runner)
    assert len(desk.fired()) == fires
    assert len(desk.skipped()) == 1 - fires


@pytest.mark.parametrize(("catchup", "fires"), [("none", 1), ("latest", 1), ("all", 1_440)])
def test_T2_clock_ten_years_ahead_fires_few_and_schedule_continues(desk, catchup, fires):
    desk.schedule(cron="* * * * *", catchup=catchup, overlap="allow")
    runner = desk.opened()
    desk.sleep_until(datetime(2036, 1, 15, 12, 31, 30, tzinfo=UTC))
    desk.look(runner)
    assert len(desk.fired()) == fires
    (window,) = (
        each.skip for each in desk.store.skips.latest() if each.skip.reason is SkipReason.WINDOW
    )
    assert (window.count, window.complete) == (1_000, False)
    # Corrected, it goes on at once, not in ten years.
    before = len(desk.fired())
    desk.sleep_until(at("12:31") + timedelta(seconds=10))
    desk.look(runner)
    desk.until(runner, at("12:33"), step=timedelta(seconds=50))
    assert desk.fired()[before:] == [at("12:32"), at("12:33")]


def test_T1_clock_set_back_a_little_delays_the_tick(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.opened()
    desk.until(runner, at("12:32"), step=timedelta(minutes=1))
    version = desk.store.schedules.get("report").checkpoint.version
    desk.sleep_until(at("12:31") + timedelta(seconds=30))
    desk.look(runner)
    assert desk.store.schedules.get("report").checkpoint.version == version
    desk.until(runner, at("12:33"), step=timedelta(seconds=30))
    assert desk.fired() == [at("12:31"), at("12:32"), at("12:33")]


@pytest.mark.parametrize(
    ("back", "earlier", "again"), [(timedelta(hours=1), 0, 2), (timedelta(days=1), 45, 3)]
)
def test_T1_clock_set_back_fires_nothing_twice(desk, back, earlier, again):
    desk.schedule(cron="*/30 * * * *", overlap="allow")
    runner = desk.opened()
    desk.until(runner, at("14:00"), step=timedelta(minutes=30))
    first = desk.fired()
    desk.sleep_until(at("14:00") - back)
    desk.look(runner)
    desk.until(runner, at("14:30"), step=timedelta(minutes=30))
    fired = desk.fired()
    assert sum(tick.duplicates for tick in desk.store.ticks.latest(limit=1_000)) == again
    assert len(set(fired)) == len(fired) == earlier + len(first) + 1
    assert fired[-1] == at("14:30")


def test_catchup_beyond_one_transaction_takes_several(desk):
    desk.schedule(cron="* * * * *", catchup="all", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("12:30") + timedelta(minutes=1_100, seconds=30))
    desk.look(runner)
    ticks = list(reversed(desk.store.ticks.latest()))
    assert [tick.events for tick in ticks] == [1_000, 100]
    assert len(set(desk.fired())) == 1_100


def test_schedule_that_ended_is_not_ticked(desk):
    desk.schedule(cron="* * * * *", start="2026-01-15T12:40", end="2026-01-15T12:42")
    runner = desk.opened()
    desk.until(runner, at("12:50"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:40")]
    assert desk.skipped() == [
        (SkipReason.OVERLAP, "12:41", "12:41", 1),
        (SkipReason.OVERLAP, "12:42", "12:42", 1),
    ]
    assert desk.schedules.get("report").health == "ended"


def test_jitter_delays_the_tick_and_keeps_the_partition(desk):
    desk.schedule(cron="0 * * * *", jitter="30m", partition=None, overlap="allow")
    runner = desk.opened()
    schedule = desk.schedules.factory.make(desk.store.schedules.get("report"))
    due = schedule.due_at(at("13:00"))
    assert at("13:00") < due < at("13:30")
    desk.until(runner, due - timedelta(seconds=1), step=timedelta(minutes=1))
    assert desk.fired() == []
    desk.until(runner, due + timedelta(seconds=1), step=timedelta(seconds=1))
    assert desk.fired() == [at("13:00")]
