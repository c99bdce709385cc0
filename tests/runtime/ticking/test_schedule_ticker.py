"""The schedule worker: what cannot be made, and what comes back late."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.tick import TickOutcome
from flowstone_core.runtime.ticking.schedule_ticker import ScheduleWorker
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
def worker_of(clock):
    """Make a worker that is owned; of a function that makes its schedule."""

    def make_worker(make, **given):
        record = ScheduleRecord.unborn("hourly", {**GIVEN, **given}, "setup.cfg:3", NOW)
        worker = ScheduleWorker(record, make, lambda source: 0, clock, Redactor(["hunter2"]))
        worker.owned = True
        return worker

    return make_worker


def sound():
    return build("hourly", GIVEN, BUILT_IN)


def test_what_cannot_be_made_is_a_failed_tick_and_is_tried_again(worker_of, clock):
    made = []

    def make():
        made.append(clock.now())
        if len(made) == 1:
            raise ValidationError("the plugin of hunter2 is gone")
        return sound()

    worker = worker_of(make)
    decision = worker.tick(worker.begin())
    assert decision.outcome is TickOutcome.FAILED
    assert decision.error == "the plugin of *** is gone"
    worker.release(2)
    worker.remember(decision)
    assert worker.memory.failures == 1
    clock.advance(60)
    again = worker.tick(worker.begin())
    assert (again.outcome, len(again.commits[0].events)) == (TickOutcome.TRIGGERED, 1)
    worker.release(2)
    worker.tick(worker.begin())
    assert len(made) == 2


def test_a_turn_ends_once(worker_of, caplog):
    worker = worker_of(sound)
    turn = worker.begin()
    late = worker.expire(turn)
    assert late.outcome is TickOutcome.TIMED_OUT
    with caplog.at_level(logging.WARNING):
        assert worker.tick(turn) is None
    assert "late result discarded" in caplog.text
    worker.release(2)
    turn = worker.begin()
    assert worker.tick(turn) is not None
    assert worker.expire(turn) is None


def test_a_late_error_is_logged_without_its_secrets(worker_of, caplog):
    def make():
        raise OSError("hunter2")

    worker = worker_of(make)
    turn = worker.begin()
    worker.expire(turn)
    assert worker.tick(turn) is None
    (record,) = caplog.records
    assert (record.schedule, record.error) == ("hourly", "OSError: ***")


def test_one_that_is_disabled_is_not_ticked(worker_of):
    assert not worker_of(sound, enabled=False).tickable
    worker = worker_of(sound)
    assert worker.tickable
    assert worker.held_back_by is None
    worker.owned = False
    assert not worker.tickable
    assert worker.held_back_by == "it is paused, or another runner has it"


def test_a_refused_tick_is_a_failed_one(worker_of):
    decision = worker_of(sound).refuse(ValueError("no"))
    assert (decision.outcome, decision.error) == (TickOutcome.FAILED, "ValueError: no")
