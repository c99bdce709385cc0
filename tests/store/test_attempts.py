"""The ends of attempts: finished, given back, lost; and what each sets off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flowstone_core.errors import StaleAttemptError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import integrity
from flowstone_core.store.attempt_recovery import LOST_LIMIT
from tests.attempt_ends import finish


def everything(store, number):
    return (
        store.materializations.latest(),
        store.events.latest(),
        store.materializations.attempts(number),
    )


def test_completed_attempt_keeps_its_result(bench):
    bench.ask("items", "p")
    claim = bench.claimed()["items"]
    bench.later(seconds=3)
    finished = bench.complete(claim, {"rows": 3, "größe": None})[0]
    assert (finished.state, finished.finished_at, finished.error) == ("completed", bench.now, None)
    assert finished.metadata == {"rows": 3, "größe": None}
    assert finished.duration == 3.0
    assert bench.get(finished.id) == finished
    (attempt,) = bench.store.materializations.attempts(finished.id)
    assert (attempt.outcome, attempt.finished_at) == (AttemptOutcome.COMPLETED, bench.now)
    assert bench.store.queue.stale_tokens([claim.token]) == {claim.token}


def test_a_failed_attempt_keeps_its_error_until_one_completes(bench):
    number = bench.ask("items").id
    (changed,) = bench.fail(bench.claimed()["items"], "no luck")
    assert (changed.state, changed.error, changed.finished_at) == ("retrying", "no luck", None)
    assert changed.available_at == bench.now + timedelta(seconds=5)
    bench.later(seconds=5)
    second = bench.claimed()["items"]
    assert second.materialization.error == "no luck"
    assert bench.complete(second)[0].error is None
    outcomes = [
        (a.number, a.outcome, a.error) for a in bench.store.materializations.attempts(number)
    ]
    assert outcomes == [
        (1, AttemptOutcome.FAILED, "no luck"),
        (2, AttemptOutcome.COMPLETED, None),
    ]


def test_the_run_id_is_the_same_in_each_attempt_and_the_token_is_not(bench):
    bench.ask("items")
    first = bench.claimed()["items"]
    bench.fail(first)
    bench.later(seconds=5)
    second = bench.claimed()["items"]
    assert first.materialization.run_id == second.materialization.run_id
    assert first.token != second.token


def test_a_spared_attempt_is_not_counted(bench):
    bench.ask("items")
    end = AttemptResult(
        AttemptOutcome.RETRY_LATER,
        MaterializationState.RETRYING,
        "asked to",
        retry_at=bench.now,
        spared=True,
    )
    claim = bench.claimed()["items"]
    (changed,) = finish(bench.store.queue, claim, end, bench.assets, bench.now)
    assert (changed.attempt, changed.max_attempts) == (1, 4)


def test_a_discarded_attempt_is_the_end(bench):
    bench.ask("items")
    (changed,) = bench.discard(bench.claimed()["items"], "no such file")
    assert (changed.state, changed.error) == ("discarded", "no such file")
    assert changed.finished_at == bench.now
    assert bench.claim().claims == ()


STALE = {
    "finished": lambda bench, claim: bench.complete(claim),
    "failed": lambda bench, claim: bench.fail(claim),
    "cancelled": lambda bench, claim: bench.store.materializations.cancel(
        claim.materialization.id, bench.assets, bench.now
    ),
    "released": lambda bench, claim: bench.store.queue.release([claim], bench.now),
    "lost": lambda bench, claim: (
        bench.store.runners.stop("one", bench.now),
        bench.store.queue.recover(bench.now),
    ),
    "claimed again": lambda bench, claim: (
        bench.store.queue.release([claim], bench.now),
        bench.claim(),
    ),
}


@pytest.mark.parametrize("meanwhile", STALE)
@pytest.mark.parametrize("how", ["complete", "fail", "discard"])
def test_stale_attempt_writes_nothing(bench, meanwhile, how):
    bench.ask("orders")
    claim = bench.claimed()["orders"]
    STALE[meanwhile](bench, claim)
    before = everything(bench.store, claim.materialization.id)
    with pytest.raises(StaleAttemptError, match=r"attempt 1 of orders #\d+ is stale"):
        getattr(bench, how)(claim)
    assert everything(bench.store, claim.materialization.id) == before


def test_unknown_token_finishes_nothing(bench):
    bench.ask("orders")
    claim = bench.claimed()["orders"]
    with pytest.raises(StaleAttemptError):
        bench.complete(replace(claim, token="0" * 32))
    bench.complete(claim)


# -- followers -------------------------------------------------------------------------------------


def test_completing_makes_each_follower_due_with_an_event(bench):
    orders = bench.ask("orders")
    finished, *followers = bench.complete(bench.claimed()["orders"])
    assert finished.id == orders.id
    assert [(item.asset, item.partition) for item in followers] == [("mail", "p"), ("chart", "p")]
    for item in followers:
        (event,) = bench.store.materializations.events(item.id)
        assert event.source == "asset:orders"
        assert event.key.startswith(orders.run_id)
        assert (event.payload, event.tick_id, event.created_at) == (None, None, bench.now)
    assert {"mail"} <= set(bench.claimed())


def test_a_follower_that_is_pending_is_joined(bench):
    mail = bench.ask("mail")
    finished = bench.complete(bench.claimed()["orders"])
    assert [item.asset for item in finished] == ["orders", "chart"]
    assert [event.source for event in bench.store.materializations.events(mail.id)] == [
        "manual",
        "asset:orders",
    ]


def test_a_follower_that_runs_is_followed_by_another(bench):
    bench.make("orders")
    running = bench.claimed()["mail"]
    bench.make("orders")
    assert bench.claimed().keys() == set()
    bench.complete(running)
    assert set(bench.claimed()) == {"mail"}


def test_no_follower_is_due_when_an_attempt_fails(bench):
    bench.ask("orders")
    bench.fail(bench.claimed()["orders"])
    bench.later(seconds=5)
    bench.discard(bench.claimed()["orders"])
    assert bench.states() == [("orders", "discarded")]


def test_a_failed_attempt_lets_nothing_go(bench):
    clean = bench.ask("clean")
    bench.fail(bench.claimed()["orders"])
    assert bench.get(clean.id).available_at is None


# -- given back ------------------------------------------------------------------------------------


def test_released_attempt_is_due_at_once_and_not_counted(bench):
    number = bench.ask("items").id
    claim = bench.claimed()["items"]
    bench.store.queue.release([claim], bench.now)
    found = bench.get(number)
    assert (found.state, found.available_at) == ("retrying", bench.now)
    assert (found.attempt, found.max_attempts, found.error) == (1, 4, None)
    (attempt,) = bench.store.materializations.attempts(number)
    assert (attempt.outcome, attempt.finished_at) == (AttemptOutcome.RELEASED, bench.now)
    assert set(bench.claimed()) == {"items"}


def test_claim_that_is_taken_back_leaves_no_attempt(bench):
    number = bench.ask("items").id
    bench.fail(bench.claimed()["items"], "no luck")
    new = bench.ask("items", "new").id
    bench.later(seconds=5)
    before = bench.get(number)
    attempts = bench.store.materializations.attempts(number)
    bench.store.queue.take_back(bench.claim().claims, bench.now)
    assert bench.get(number) == replace(before, available_at=bench.now)
    assert bench.store.materializations.attempts(number) == attempts
    found = bench.get(new)
    assert (found.state, found.attempt, found.max_attempts) == ("retrying", 0, 3)
    assert (found.started_at, found.available_at) == (None, bench.now)
    assert bench.store.materializations.attempts(new) == []
    assert not integrity.check(bench.store._database).problems
    claims = {claim.materialization.id: claim for claim in bench.claim().claims}
    assert [claims[each].materialization.attempt for each in (number, new)] == [2, 1]
    bench.complete(claims[new])
    assert [each.number for each in bench.store.materializations.attempts(new)] == [1]


def test_claim_with_an_expired_token_is_not_taken_back(bench):
    bench.ask("items")
    claim = bench.claimed()["items"]
    bench.complete(claim)
    before = bench.get(claim.materialization.id)
    bench.store.queue.take_back([claim], bench.now)
    assert bench.get(before.id) == before
    assert len(bench.store.materializations.attempts(before.id)) == 1


def test_release_leaves_stale_claims_alone(bench):
    bench.ask("items", "a")
    bench.ask("items", "b")
    done, held = bench.claim().claims
    bench.complete(done)
    before = bench.get(done.materialization.id)
    bench.store.queue.release([done, held], bench.now)
    assert bench.get(before.id) == before
    assert bench.get(held.materialization.id).state == "retrying"
    bench.store.queue.release([], bench.now)


def test_an_error_from_before_is_kept_when_an_attempt_is_given_back(bench):
    number = bench.ask("items").id
    bench.fail(bench.claimed()["items"], "no luck")
    bench.later(seconds=5)
    bench.store.queue.release(bench.claim().claims, bench.now)
    assert bench.get(number).error == "no luck"


# -- lost ------------------------------------------------------------------------------------------


def test_D17_attempt_longer_than_a_lease_of_a_live_runner_is_left(bench):
    """A lease is its runner's, not the attempt's: it is renewed for as long as the runner lives."""
    bench.ask("items")
    bench.claim()
    for _ in range(3):
        bench.later(hours=23)
        assert bench.store.runners.beat("one", bench.now, timedelta(days=1))
        assert bench.store.queue.recover(bench.now) == []
    bench.later(hours=23)
    assert bench.store.queue.recover(bench.now) == []


def test_D18_attempts_of_a_runner_that_never_beat_are_due_again(bench):
    number = bench.ask("items").id
    bench.runner("two", lease=timedelta(seconds=30))
    bench.claim(runner_id="two")
    bench.later(seconds=29.999999)
    assert bench.store.queue.recover(bench.now) == []
    bench.later(microseconds=1)
    (changed,) = bench.store.queue.recover(bench.now)
    assert changed == bench.get(number)
    assert (changed.state, changed.available_at) == ("retrying", bench.now)
    assert changed.error == (
        "attempt 1 was lost: the lease of its runner on host-two (pid 7) expired "
        "at 2025-01-15 12:00:30Z"
    )
    (attempt,) = bench.store.materializations.attempts(number)
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.LOST, changed.error)
    assert bench.store.queue.recover(bench.now) == []


def test_the_work_of_a_runner_that_stopped_is_due_again(bench):
    bench.ask("items")
    bench.claim()
    bench.store.runners.stop("one", bench.now)
    (changed,) = bench.store.queue.recover(bench.now)
    assert changed.error == "attempt 1 was lost: its runner on host-one (pid 7) stopped or died"


def test_the_work_of_a_runner_that_was_never_known_is_due_again(bench):
    bench.ask("items")
    bench.claim(runner_id="ghost")
    (changed,) = bench.store.queue.recover(bench.now)
    assert changed.error == "attempt 1 was lost: unknown runner ghost"


def test_N4_K15_materialization_that_kills_its_runners_is_discarded(bench):
    number = bench.ask("items").id
    for attempt in range(1, LOST_LIMIT + 1):
        assert bench.claimed(runner_id="ghost")["items"].materialization.attempt == attempt
        (changed,) = bench.store.queue.recover(bench.now)
    assert (changed.state, changed.finished_at) == ("discarded", bench.now)
    assert bench.claim().claims == ()
    outcomes = [attempt.outcome for attempt in bench.store.materializations.attempts(number)]
    assert outcomes == [AttemptOutcome.LOST] * LOST_LIMIT
    assert changed.error.endswith(
        "; 5 attempts were lost with their runners, and no more are started"
    )


def test_N4_lost_attempt_does_not_count_as_a_failed_one(bench):
    number = bench.ask("items").id
    for _ in range(LOST_LIMIT - 1):
        bench.claim(runner_id="ghost")
        (changed,) = bench.store.queue.recover(bench.now)
        assert changed.state == "retrying"
    claimed = bench.claimed()["items"].materialization
    assert (claimed.attempt, claimed.max_attempts) == (LOST_LIMIT, 3 + LOST_LIMIT - 1)
    outcomes = [attempt.outcome for attempt in bench.store.materializations.attempts(number)]
    assert outcomes == [AttemptOutcome.LOST] * (LOST_LIMIT - 1) + [None]


def test_N4_retry_by_hand_counts_lost_attempts_anew(bench):
    number = bench.ask("items").id
    for _ in range(LOST_LIMIT):
        bench.claim(runner_id="ghost")
        bench.store.queue.recover(bench.now)
    bench.store.materializations.retry(number, bench.assets, bench.now)
    for _ in range(LOST_LIMIT - 1):
        bench.claim(runner_id="ghost")
        (changed,) = bench.store.queue.recover(bench.now)
        assert changed.state == "retrying"


def test_lost_and_discarded_attempt_requeues_dependents(bench):
    clean = bench.ask("clean")
    for _ in range(LOST_LIMIT):
        bench.claim(runner_id="ghost")
        bench.store.queue.recover(bench.now)
    (gone,) = bench.claim().changed
    assert (gone.id, gone.state) == (clean.id, "discarded")


def test_recover_releases_claims_unknown_to_the_runner(bench):
    for partition in "abc":
        bench.ask("items", partition)
    known, *unknown = bench.claim().claims
    bench.ask("items", "other worker")
    bench.claim(runner_id="one-more")
    bench.runner("one-more")
    changed = bench.store.queue.recover(bench.now, "one", [known.token])
    numbers = [claim.materialization.id for claim in unknown]
    assert [item.id for item in changed] == numbers
    for item in changed:
        assert (item.state, item.available_at) == ("retrying", bench.now)
        assert (item.attempt, item.max_attempts, item.error) == (1, 4, None)
        assert bench.store.materializations.attempts(item.id)[0].outcome is AttemptOutcome.RELEASED
    assert bench.complete(known)[0].state == "completed"


def test_recover_without_held_tokens_leaves_other_runners_alone(bench):
    bench.ask("items")
    bench.claim()
    assert bench.store.queue.recover(bench.now, "two", []) == []


def test_recover_loses_held_attempts_of_an_expired_runner(bench):
    bench.ask("items")
    claim = bench.claimed()["items"]
    bench.store.runners.stop("one", bench.now)
    (changed,) = bench.store.queue.recover(bench.now, "one", [claim.token])
    assert "attempt 1 was lost" in changed.error


def test_recover_by_a_runner_whose_lease_has_ended_takes_no_other_for_dead(bench):
    for name in ("first", "second"):
        bench.runner(name, timedelta(seconds=30))
    number = bench.ask("items").id
    bench.claim(runner_id="first")
    bench.later(hours=1)  # the clock was set forward
    assert bench.store.queue.recover(bench.now, "second", []) == []
    assert bench.get(number).state == "running"
    bench.runner("second")
    (changed,) = bench.store.queue.recover(bench.now, "second", [])
    assert changed.id == number


def test_tokens_of_nothing_are_none(bench):
    assert bench.store.queue.stale_tokens([]) == set()
