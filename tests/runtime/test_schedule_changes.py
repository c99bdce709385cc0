"""Schedules in a runner: commands, edits, failing triggers and functions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import SkipReason, TickOutcome
from flowstone_core.scheduling.trigger import Trigger
from tests.runtime.schedule_desk import (
    PATIENCE,
    at,
)

# -- while it runs ---------------------------------------------------------------------------------


def test_schedule_added_by_command_fires_in_a_running_runner(desk):
    runner = desk.opened()
    desk.schedules.add("report", name="quick", cron="* * * * *")
    desk.until(runner, at("12:31"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:31")]
    desk.schedules.remove("quick")
    desk.until(runner, at("12:33"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:31")]


def test_schedule_for_an_unknown_asset_is_left_to_others(desk, store):
    runner = desk.opened()
    given = {"asset": "elsewhere", "trigger": "cron", "text": "* * * * *"}
    store.schedules.create("theirs", given, desk.clock.now())
    desk.until(runner, at("12:33"), step=timedelta(minutes=1))
    assert desk.fired() == []
    assert store.schedules.get("theirs").owner is None


def test_edit_during_a_tick_discards_the_tick(desk):
    edited = threading.Event()

    def name():
        if not edited.is_set():
            edited.set()
            desk.schedules.update("report", catchup="all")
        return "p"

    desk.schedule(partition=None, partition_fn=name)
    runner = desk.opened()
    desk.sleep_until(at("13:00"))
    runner.step()
    assert runner.settle(PATIENCE)
    assert edited.is_set()
    assert desk.store.ticks.latest() == []
    desk.look(runner)
    assert desk.fired() == [at("13:00")]


def test_pause_before_reconciliation_stops_a_due_instant(desk):
    desk.schedule()
    runner = desk.opened()
    desk.schedules.pause("report")
    desk.sleep_until(at("13:00"))
    runner.step()
    assert runner.settle(PATIENCE)
    assert desk.fired() == []
    assert desk.schedules.get("report").health == "paused"


def test_failing_partition_fn_loses_no_instant(desk):
    broken = [True]

    def name(instant: datetime) -> str:
        if broken[0]:
            raise OSError("no connection")
        return f"{instant:%H}"

    desk.schedule(partition=None, partition_fn=name, catchup="all", overlap="buffer_all")
    desk.schedule(name="healthy")
    runner = desk.opened()
    desk.until(runner, at("14:10"), step=timedelta(minutes=5))
    (status,) = (each for each in desk.schedules.all() if each.name == "report")
    assert (status.health, status.error) == ("failing", "OSError: no connection")
    assert status.failures >= 2
    broken[0] = False
    desk.until(runner, at("15:55"), step=timedelta(minutes=5))
    mine = [event for event in desk.events() if event.source == "schedule:report"]
    assert [event.partition for event in mine] == ["13", "14", "15"]
    assert desk.schedules.get("report").failures == 0
    # The other one went on meanwhile; it was not ended, so it was not fired for again.
    assert [event.key for event in desk.events() if event.source == "schedule:healthy"] == [
        "2026-01-15T13:00:00Z"
    ]


def test_schedule_after_ten_failures_ticks_hourly(desk):
    desk.schedule(partition=None, partition_fn=lambda: 1 / 0)
    runner = desk.opened()
    desk.until(runner, at("13:00") + timedelta(hours=9))
    failures = desk.schedules.get("report").failures
    assert failures >= 10
    desk.until(runner, desk.clock.now() + timedelta(hours=3))
    assert desk.schedules.get("report").failures - failures in {2, 3}


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_partition_fn_any_exception_is_a_failed_tick(desk, raised):
    def name():
        raise raised("stop")

    desk.schedule(partition=None, partition_fn=name)
    runner = desk.opened()
    desk.sleep_until(at("13:00"))
    desk.look(runner)
    (tick,) = desk.store.ticks.latest()
    assert tick.outcome is TickOutcome.FAILED
    assert raised.__name__ in tick.error


class Odd(Trigger):
    """A trigger that answers what a test gives it."""

    answer: Callable[[datetime], object]

    def next_fire(self, after):
        return type(self).answer(after)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda after: after, "which is not later than"),
        (lambda after: datetime(2030, 1, 1), "the naive 2030-01-01"),  # noqa: DTZ001
        (lambda after: "soon", "a value of type str"),
        (lambda after: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_P4_invalid_trigger_fails_its_own_schedule_only(desk, answer, says):
    odd = type("Odd", (Odd,), {"answer": staticmethod(answer)})
    desk.pipeline.schedule("report", name="odd", trigger=odd("whatever"))
    desk.schedule()
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    status = desk.schedules.get("odd")
    assert status.health == "broken"
    assert says in status.error
    ticks = desk.store.ticks.latest(source="schedule:odd")
    assert ticks
    assert all(tick.outcome is TickOutcome.FAILED and says in tick.error for tick in ticks)


def test_P1_hanging_trigger_delays_no_other_schedule(desk):
    let_go, asked = threading.Event(), threading.Event()

    def hang(after):
        asked.set()
        assert let_go.wait(PATIENCE.total_seconds())
        return after + timedelta(days=1)

    odd = type("Odd", (Odd,), {"answer": staticmethod(hang)})
    desk.pipeline.schedule("report", name="odd", trigger=odd("whatever"))
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.runner()
    runner.open()
    runner.step()
    assert asked.wait(PATIENCE.total_seconds())
    for count in (1, 2, 3):
        desk.clock.advance(60)
        while len(desk.fired()) < count or runner._scheduler.tickers["schedule:report"].busy:
            runner.step()
    assert desk.fired() == [at("12:31"), at("12:32"), at("12:33")]
    assert runner.settle(PATIENCE)
    (tick,) = desk.store.ticks.latest(source="schedule:odd")
    assert tick.outcome is TickOutcome.TIMED_OUT
    assert "did not return within 60 s" in tick.error
    assert runner.stuck == 1
    let_go.set()


def test_pause_on_failure_pauses_the_schedule(desk):
    desk.schedule(pause_on_failure=True)
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    desk.finish(MaterializationState.DISCARDED)
    desk.until(runner, at("15:30"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    status = desk.schedules.get("report")
    assert (status.health, status.paused_because) == (
        "paused",
        "materialization #1 was discarded",
    )
    desk.schedules.resume("report")
    desk.until(runner, at("16:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00"), at("16:00")]
    assert desk.skipped() == [(SkipReason.PAUSED, "14:00", "15:00", 2)]
