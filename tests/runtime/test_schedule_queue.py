"""Schedules that buffer overlapping instants: run order of their materializations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from tests.attempt_ends import finish
from tests.runtime.schedule_desk import (
    at,
)

# -- in line ---------------------------------------------------------------------------------------


def lined_up(desk, count):
    """A schedule that has fired so often, the first running, the others behind it in line."""
    desk.schedule(catchup="all", overlap="buffer_all")
    runner = desk.opened()
    desk.sleep_until(at("12:30") + timedelta(hours=count))
    desk.look(runner)
    assets, now = desk.project.assets, desk.clock.now()
    (claim,) = desk.store.queue.claim("ticker", 1_000, assets, now).claims
    assert desk.waiting() == list(range(2, count + 1))
    return runner, claim


def end(desk, claim, state=MaterializationState.COMPLETED):
    finish(
        desk.store.queue,
        claim,
        AttemptResult(AttemptOutcome.COMPLETED, state),
        desk.project.assets,
        desk.clock.now(),
    )


def started(desk):
    found = desk.store.queue.claim("ticker", 1_000, desk.project.assets, desk.clock.now())
    return [claim.materialization.id for claim in found.claims], found.claims


@pytest.mark.parametrize("state", [MaterializationState.COMPLETED, MaterializationState.DISCARDED])
def test_queue_starts_the_next_when_its_predecessor_ended(desk, state):
    _, claim = lined_up(desk, 4)
    for number in (2, 3, 4):
        assert started(desk)[0] == []
        end(desk, claim, state)
        numbers, (claim,) = started(desk)
        assert numbers == [number]
    end(desk, claim, state)
    assert desk.waiting() == []


def test_queue_waits_for_a_retried_predecessor(desk):
    _, claim = lined_up(desk, 2)
    later = desk.clock.now() + timedelta(minutes=1)
    retry = AttemptResult(
        AttemptOutcome.FAILED, MaterializationState.RETRYING, "no", retry_at=later
    )
    finish(desk.store.queue, claim, retry, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    desk.clock.advance(60)
    assert started(desk)[0] == [1]


def test_queue_middle_cancelled_keeps_the_order(desk):
    _, claim = lined_up(desk, 3)
    desk.store.materializations.cancel(2, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    assert desk.store.materializations.get(3).waiting_for == "the schedule's previous run, #1"
    end(desk, claim)
    assert started(desk)[0] == [3]


def test_queue_head_cancelled_releases_the_next(desk):
    lined_up(desk, 3)
    desk.store.materializations.cancel(1, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == [2]


def test_queued_materialization_is_released_by_its_predecessor_only(desk):
    _, claim = lined_up(desk, 3)
    desk.store.queue.requeue_waiting(desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    desk.store.materializations.materialize(
        desk.project.assets["report"],
        "elsewhere",
        desk.project.assets,
        desk.clock.now(),
    )
    # Asked for by hand: it is none of the schedule's own, and waits for nothing.
    assert started(desk)[0] == [4]
    end(desk, claim)
    assert started(desk)[0] == [2]


def test_queue_leaves_out_earlier_manual_requests(desk):
    desk.schedule(overlap="buffer_all", partition="p")
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    (claim,) = started(desk)[1]
    by_hand = desk.store.materializations.materialize(
        desk.project.assets["report"], "p", desk.project.assets, desk.clock.now()
    )[1]
    desk.until(runner, at("14:00"), step=timedelta(minutes=30))
    (_, joined) = desk.events()[-2:]
    assert joined.materialization_id == by_hand.id
    end(desk, claim)
    assert started(desk)[0] == [by_hand.id]


def test_queue_continues_after_a_lost_last_attempt(desk):
    desk.schedule(catchup="all", overlap="buffer_all", pause_on_failure=True)
    runner = desk.opened()
    desk.sleep_until(at("14:30"))
    desk.look(runner)
    for _ in range(5):
        desk.store.queue.claim("nobody", 1, desk.project.assets, desk.clock.now())
        desk.store.queue.recover(desk.clock.now())
    assert desk.store.materializations.get(1).state is MaterializationState.DISCARDED
    assert started(desk)[0] == [2]
    assert desk.schedules.get("report").paused_because == "materialization #1 was discarded"
