"""The decision on what is due, alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.tick import ScheduleCheckpoint, Skip, SkipReason, TickOutcome
from flowstone_core.scheduling.builtin_triggers import BUILT_IN
from flowstone_core.scheduling.catchup import Due
from flowstone_core.scheduling.schedule import build
from flowstone_core.scheduling.schedule_decision import (
    MAX_SLEEP,
    QUARANTINE_AFTER,
    ScheduleObservation,
    decide_failure,
    decide_firing,
    instant_text,
)

NOW = datetime(2026, 1, 15, 13, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
MEMORY = ScheduleCheckpoint(BEFORE, version=7)


def schedule(**settings):
    given = {"asset": "report", "trigger": "cron", "text": "0 * * * *", **settings}
    return build("nightly", given, BUILT_IN)


def look(instants=(NOW,), *, caught_up=False, skips=(), active=0, until=NOW, next_at=None):
    partitions = tuple(f"p{number}" for number, _ in enumerate(instants))
    due = Due(tuple(instants), caught_up, tuple(skips), until, next_at)
    return ScheduleObservation(due, NOW, NOW + timedelta(seconds=1), partitions, active)


def decide(using, found, checkpoint=MEMORY):
    return decide_firing(using, checkpoint, found, lambda failures: timedelta(seconds=failures))


@pytest.mark.parametrize(
    ("overlap", "active", "fires"),
    [
        ("skip", 0, True), ("skip", 1, False), ("skip", 2, False),
        ("buffer_one", 0, True), ("buffer_one", 1, True), ("buffer_one", 2, False),
        ("buffer_all", 0, True), ("buffer_all", 1, True), ("buffer_all", 2, True),
        ("allow", 0, True), ("allow", 1, True), ("allow", 2, True),
    ],
)  # fmt: skip
def test_overlap_of_instants_on_time(overlap, active, fires):
    decision = decide(schedule(overlap=overlap), look(active=active))
    (commit,) = decision.commits
    assert (len(commit.events), len(commit.skips)) == ((1, 0) if fires else (0, 1))
    assert decision.outcome is (TickOutcome.TRIGGERED if fires else TickOutcome.SKIPPED)
    if not fires:
        assert commit.skips == (Skip(SkipReason.OVERLAP, NOW, NOW),)
    assert all(event.sequential is (overlap != "allow") for event in commit.events)


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "buffer_all", "allow"])
@pytest.mark.parametrize("active", [0, 1, 2])
def test_caught_up_instants_are_never_skipped(overlap, active):
    decision = decide(schedule(overlap=overlap), look((BEFORE, NOW), caught_up=True, active=active))
    (commit,) = decision.commits
    assert [event.key for event in commit.events] == [instant_text(BEFORE), instant_text(NOW)]
    assert commit.skips == ()


def test_event_of_an_instant():
    (commit,) = decide(schedule(timezone="Europe/Warsaw"), look()).commits
    (event,) = commit.events
    assert (event.key, event.asset, event.partition) == ("2026-01-15T13:00:00Z", "report", "p0")
    assert event.payload == (
        '{"instant":"2026-01-15T13:00:00Z","schedule":"nightly","timezone":"Europe/Warsaw"}'
    )
    assert commit.source == "schedule:nightly"
    assert (commit.before, commit.after) == (MEMORY, ScheduleCheckpoint(NOW, version=8))
    assert (commit.started_at, commit.finished_at) == (NOW, NOW + timedelta(seconds=1))


def test_nothing_due_is_a_quiet_tick():
    decision = decide(schedule(), look((), until=BEFORE, next_at=NOW))
    assert (decision.commits, decision.outcome) == ((), TickOutcome.NOT_TRIGGERED)
    assert decision.next_at == NOW


def test_first_success_after_failures_is_committed():
    failed = ScheduleCheckpoint(BEFORE, version=7, failures=3, not_before=NOW)
    (commit,) = decide(schedule(), look((), until=BEFORE), failed).commits
    assert commit.outcome is TickOutcome.NOT_TRIGGERED
    assert commit.after == ScheduleCheckpoint(BEFORE, version=8)


def test_schedule_is_evaluated_at_least_hourly():
    far = NOW + timedelta(days=30)
    finished = NOW + timedelta(seconds=1)
    assert decide(schedule(), look(next_at=far)).next_at == finished + MAX_SLEEP
    near = NOW + timedelta(minutes=1)
    assert decide(schedule(), look(next_at=near)).next_at == near
    assert decide(schedule(), look(next_at=None)).next_at is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError("key hunter2"), TickOutcome.FAILED),
        (SystemExit(), TickOutcome.FAILED),
        (PollTimeoutError("late"), TickOutcome.TIMED_OUT),
    ],
)
def test_failure_keeps_instants_due(error, outcome):
    found = ScheduleObservation(error, NOW, NOW)
    decision = decide_failure(
        "nightly",
        MEMORY,
        found,
        lambda failures: timedelta(seconds=failures),
        lambda text: text.replace("hunter2", "***"),
    )
    (commit,) = decision.commits
    assert decision.outcome is commit.outcome is outcome
    assert "hunter2" not in commit.error
    assert decision.next_at == NOW + timedelta(seconds=1)
    assert commit.after == ScheduleCheckpoint(BEFORE, 8, 1, NOW + timedelta(seconds=1))


def test_quarantine_retries_once_an_hour():
    failed = ScheduleCheckpoint(BEFORE, failures=QUARANTINE_AFTER - 1)
    decision = decide(schedule(), ScheduleObservation(OSError(), NOW, NOW), failed)
    assert decision.next_at == NOW + timedelta(hours=1)
