"""Schedule ticker: schedules that cannot be built, and late results."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.tick import TickOutcome
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleTicker
from flowstone_core.scheduling.builtin_triggers import BUILT_IN
from flowstone_core.scheduling.schedule import build
from flowstone_core.store import ScheduleRecord
from flowstone_core.testing import FakeClock

NOW = datetime(2026, 1, 15, 12, 59, tzinfo=UTC)
GIVEN = {"asset": "report", "trigger": "cron", "text": "0 * * * *"}


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def ticker_of(clock):
    """Make a ticker that is owned; of a function that makes its schedule."""

    def make_ticker(make, **given):
        record = ScheduleRecord.new("hourly", {**GIVEN, **given}, "setup.cfg:3", NOW)
        ticker = ScheduleTicker(record, make, lambda source: 0, clock, Redactor(["hunter2"]))
        ticker.owned = True
        return ticker

    return make_ticker


def sound():
    return build("hourly", GIVEN, BUILT_IN)


def test_schedule_ticker_failing_build_is_a_failed_tick(ticker_of, clock):
    made = []

    def make():
        made.append(clock.now())
        if len(made) == 1:
            raise ValidationError("the plugin of hunter2 is gone")
        return sound()

    ticker = ticker_of(make)
    decision = ticker.tick(ticker.begin())
    assert decision.outcome is TickOutcome.FAILED
    assert decision.error == "the plugin of *** is gone"
    ticker.release(2)
    ticker.remember(decision)
    assert ticker.checkpoint.failures == 1
    clock.advance(60)
    again = ticker.tick(ticker.begin())
    assert (again.outcome, len(again.commits[0].events)) == (TickOutcome.TRIGGERED, 1)
    ticker.release(2)
    ticker.tick(ticker.begin())
    assert len(made) == 2


def test_schedule_ticker_tick_call_ends_once(ticker_of, caplog):
    ticker = ticker_of(sound)
    number = ticker.begin()
    late = ticker.expire(number)
    assert late.outcome is TickOutcome.TIMED_OUT
    with caplog.at_level(logging.WARNING):
        assert ticker.tick(number) is None
    assert "late result discarded" in caplog.text
    ticker.release(2)
    number = ticker.begin()
    assert ticker.tick(number) is not None
    assert ticker.expire(number) is None


def test_sensor_ticker_late_error_is_logged_redacted(ticker_of, caplog):
    def make():
        raise OSError("hunter2")

    ticker = ticker_of(make)
    number = ticker.begin()
    ticker.expire(number)
    assert ticker.tick(number) is None
    (record,) = caplog.records
    assert (record.schedule, record.error) == ("hourly", "OSError: ***")


def test_disabled_schedule_is_not_tickable(ticker_of):
    assert not ticker_of(sound, enabled=False).tickable
    ticker = ticker_of(sound)
    assert ticker.tickable
    assert ticker.held_back_by is None
    ticker.owned = False
    assert not ticker.tickable
    assert ticker.held_back_by == "it is paused, or another runner ticks it"


def test_schedule_ticker_refused_commit_has_failed(ticker_of):
    decision = ticker_of(sound).refuse(ValueError("no"))
    assert (decision.outcome, decision.error) == (TickOutcome.FAILED, "ValueError: no")
