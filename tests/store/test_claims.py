"""Claiming: order, dependencies, holding back, discarding; one at a time for each partition."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core.model.asset import AssetGraph
from flowstone_core.store import claims


def names(found):
    return [item.asset for item in found]


def test_nothing_to_claim(bench):
    found = bench.claim()
    assert (found.claims, found.changed, found.next_at) == ((), (), None)


def test_a_claim_starts_the_materialization(bench):
    asked = bench.ask("orders", "p", {"n": 1})
    bench.fire(bench.event("k"))
    bench.later(seconds=1)
    (claim,) = bench.claim().claims
    started = claim.materialization
    assert (started.id, started.run_id) == (asked.id, asked.run_id)
    assert (started.state, started.attempt, started.started_at) == ("running", 1, bench.now)
    assert (started.available_at, started.waiting_for) == (None, None)
    assert [event.payload for event in claim.events] == [{"n": 1}, None]
    assert [event.source for event in claim.events] == ["manual", "sensor:feed"]
    assert claim.upstream == {}
    assert bench.get(asked.id) == started
    (attempt,) = bench.store.materializations.attempts(asked.id)
    assert (attempt.number, attempt.started_at, attempt.runner_id) == (1, bench.now, "one")
    assert (attempt.finished_at, attempt.outcome, attempt.error) == (None, None, None)
    assert bench.claim().claims == ()


def test_each_claim_has_a_token_of_its_own(bench):
    for partition in "abc":
        bench.ask("orders", partition)
    tokens = [claim.token for claim in bench.claim().claims]
    assert len(set(tokens)) == 3
    assert bench.store.queue.stale_tokens([*tokens, "made up"]) == {"made up"}


def test_the_oldest_are_claimed_first_up_to_the_limit(bench):
    for partition in "cab":
        bench.ask("orders", partition)
    first = bench.claim(limit=2)
    assert [claim.materialization.partition for claim in first.claims] == ["c", "a"]
    assert [claim.materialization.partition for claim in bench.claim(2).claims] == ["b"]


def test_retry_is_claimed_when_it_is_due(bench):
    bench.ask("orders")
    bench.fail(bench.claimed()["orders"], retry_in=timedelta(seconds=5))
    due = bench.now + timedelta(seconds=5)
    assert bench.claim().next_at == due
    bench.later(seconds=4.999999)
    assert bench.claim().claims == ()
    bench.now = due
    (claim,) = bench.claim().claims
    assert claim.materialization.attempt == 2
    assert [
        attempt.number
        for attempt in bench.store.materializations.attempts(claim.materialization.id)
    ] == [1, 2]


def test_the_start_is_that_of_the_first_attempt(bench):
    bench.ask("orders")
    start = bench.now
    bench.fail(bench.claimed()["orders"])
    bench.later(seconds=9)
    assert bench.claimed()["orders"].materialization.started_at == start


def test_the_next_time_is_the_earliest_of_known_assets_and_in_the_future(bench):
    for partition, delay in (("a", 30), ("b", 10), ("c", 20)):
        bench.ask("orders", partition)
        (claim,) = bench.claim().claims
        bench.fail(claim, retry_in=timedelta(seconds=delay))
    bench.ask("items")
    assert bench.claim(limit=1).next_at == bench.now + timedelta(seconds=10)
    other = bench.store.queue.claim("one", 9, AssetGraph([bench.assets["items"]]), bench.now)
    assert other.next_at is None


def test_assets_that_are_not_known_are_left_alone(bench):
    asked = bench.ask("orders")
    only_items = AssetGraph([bench.assets["items"]])
    assert bench.store.queue.claim("one", 9, only_items, bench.now).claims == ()
    assert bench.get(asked.id) == asked
    assert bench.store.queue.claim("one", 9, AssetGraph(), bench.now).claims == ()


# -- of one partition, one at a time ---------------------------------------------------------------


def test_a_second_one_for_the_partition_waits_until_the_first_has_ended(bench):
    bench.ask("orders")
    running = bench.claimed()["orders"]
    second = bench.ask("orders")
    assert bench.claim().claims == ()
    held = bench.get(second.id)
    assert held.waiting_for == f"the previous run, #{running.materialization.id}"
    assert (held.state, held.available_at) == ("pending", None)
    bench.complete(running)
    assert bench.claimed()["orders"].materialization.id == second.id


def test_a_second_one_waits_while_the_first_waits_for_its_next_attempt(bench):
    first = bench.ask("orders")
    bench.fail(bench.claimed()["orders"])
    second = bench.ask("orders")
    assert bench.claim().claims == ()
    assert bench.get(second.id).waiting_for == f"the previous run, #{first.id}"
    bench.later(seconds=5)
    retried = bench.claimed()
    assert retried["orders"].materialization.id == first.id
    bench.discard(retried["orders"])
    assert bench.claimed()["orders"].materialization.id == second.id


def test_other_partitions_and_other_assets_do_not_wait(bench):
    bench.ask("orders", "p")
    bench.claim()
    bench.ask("orders", "q")
    bench.ask("items", "p")
    assert len(bench.claim().claims) == 2


# -- dependencies ----------------------------------------------------------------------------------


def test_missing_dependency_is_enqueued_and_runs_first(bench):
    report = bench.ask("report")
    found = bench.claim()
    assert {claim.materialization.asset for claim in found.claims} == {"orders", "items"}
    made = {item.asset: item for item in found.changed}
    assert set(made) == {"clean", "items", "orders"}
    assert {str(item.state) for item in found.changed} == {"pending"}
    held = bench.get(report.id)
    assert held.waiting_for == f"clean #{made['clean'].id}, items #{made['items'].id}"
    assert bench.get(made["clean"].id).waiting_for == f"orders #{made['orders'].id}"
    assert made["clean"].max_attempts == 5


def test_the_order_is_topological_to_the_end(bench):
    bench.ask("report")
    order = []
    while claimed := bench.claim().claims:
        for claim in claimed:
            order.append(claim.materialization.asset)
            bench.complete(claim)
    # The followers of what was made on the way are made too.
    assert set(order) == {"orders", "items", "clean", "report", "mail", "chart"}
    assert order.index("orders") < order.index("clean") < order.index("report")
    assert order.index("items") < order.index("report")
    assert bench.store.queue.unfinished(bench.assets) == 0


def test_completed_dependency_is_passed_on_and_not_rerun(bench):
    bench.make("orders", result={"rows": 1})
    bench.make("orders", "other", result={"rows": 9})
    bench.ask("clean")
    clean = bench.claimed()["clean"]
    assert clean.upstream == {"orders": {"rows": 1}}


def test_the_latest_result_is_handed_on_even_if_it_was_asked_for_earlier(bench):
    old = bench.ask("orders")
    bench.discard(bench.claimed()["orders"])
    bench.later(seconds=1)
    bench.make("orders", result={"rows": 1})
    bench.later(seconds=1)
    bench.store.materializations.retry(old.id, bench.assets, bench.now)
    retried = [c for c in bench.claim().claims if c.materialization.id == old.id]
    bench.complete(retried[0], {"rows": 2})
    bench.later(seconds=1)
    bench.ask("clean")
    assert bench.claimed()["clean"].upstream == {"orders": {"rows": 2}}


def test_an_upstream_that_returned_nothing_is_there_with_nothing(bench):
    bench.make("orders")
    bench.ask("clean")
    assert bench.claimed()["clean"].upstream == {"orders": None}


def test_another_attempt_gets_the_upstream_too_and_does_not_wait(bench):
    bench.make("orders", result={"rows": 1})
    bench.claim()  # the followers
    bench.ask("clean")
    bench.fail(bench.claimed()["clean"])
    bench.ask("orders")
    bench.later(seconds=5)
    assert bench.claimed()["clean"].upstream == {"orders": {"rows": 1}}


def test_claim_waits_for_earlier_request_despite_completed_one(bench):
    bench.make("orders")
    bench.claim()
    newer = bench.ask("orders")
    clean = bench.ask("clean")
    assert set(bench.claimed()) == {"orders"}
    assert bench.get(clean.id).waiting_for == f"orders #{newer.id}"


def test_one_asked_for_later_is_not_waited_for_once_one_is_completed(bench):
    bench.make("orders")
    bench.claim()
    bench.ask("clean")
    bench.ask("orders")
    assert set(bench.claimed()) == {"orders", "clean"}


def test_one_asked_for_later_is_waited_for_if_none_was_ever_completed(bench):
    clean = bench.ask("clean")
    orders = bench.ask("orders")
    assert set(bench.claimed()) == {"orders"}
    assert bench.get(clean.id).waiting_for == f"orders #{orders.id}"
    assert len(bench.store.materializations.latest()) == 2


def test_several_wait_for_the_same_one(bench):
    bench.ask("clean")
    bench.ask("mail")
    orders = bench.claimed()["orders"]
    assert bench.states() == [
        ("clean", "pending"),
        ("mail", "pending"),
        ("orders", "running"),
    ]
    bench.complete(orders)
    assert {"clean", "mail"} <= set(bench.claimed())


@pytest.mark.parametrize("end", ["discarded", "cancelled"])
def test_dependent_of_a_failed_one_is_discarded(bench, end):
    clean = bench.ask("clean")
    orders = bench.claimed()["orders"]
    number = orders.materialization.id
    bench.later(seconds=1)
    if end == "discarded":
        bench.discard(orders)
    else:
        bench.store.materializations.cancel(number, bench.assets, bench.now)
    (gone,) = bench.claim().changed
    assert (gone.id, gone.state, gone.finished_at) == (clean.id, "discarded", bench.now)
    assert gone.error == (
        f"orders #{number}, which it depends on, ended {end}; "
        f"retry it with: flowstone materializations retry {number}"
    )
    assert (gone.attempt, gone.available_at) == (0, None)


def test_discarding_goes_down_the_whole_line_at_once(bench):
    bench.ask("report")
    claimed = bench.claimed()
    bench.discard(claimed["orders"])
    gone = bench.claim().changed
    assert names(gone) == ["clean", "report"]
    assert "clean #" in gone[1].error
    assert bench.store.queue.unfinished(bench.assets) == 1  # items goes on


def test_claim_round_with_a_discarded_dependency_handles_its_dependents(bench):
    bench.ask("clean")
    orders = bench.claimed()["orders"]
    bench.make("items")
    bench.claim()  # the chart
    bench.discard(orders)
    bench.ask("report")
    assert {"clean", "report"} <= set(names(bench.claim().changed))
    assert not [item for item in bench.store.materializations.latest() if item.waiting_for]


def test_one_that_waits_for_two_is_discarded_with_the_first_that_fails(bench):
    report = bench.ask("report")
    items = bench.discard(bench.claimed()["items"])[0]
    (gone,) = bench.claim().changed
    assert (gone.id, gone.waiting_for) == (report.id, None)
    assert f"items #{items.id}, which it depends on" in gone.error
    assert bench.states() == [
        ("report", "discarded"),
        ("clean", "pending"),
        ("items", "discarded"),
        ("orders", "running"),
    ]


def test_asking_again_after_a_failure_tries_the_upstream_again(bench):
    bench.ask("clean")
    bench.discard(bench.claimed()["orders"])
    bench.claim()
    bench.later(seconds=1)
    bench.ask("clean")
    again = bench.claimed()["orders"]
    bench.complete(again)
    assert "clean" in bench.claimed()


def test_a_failure_at_the_very_moment_of_asking_counts(bench):
    orders = bench.ask("orders")
    bench.claim()
    bench.ask("clean")
    bench.claim()
    bench.store.materializations.cancel(orders.id, bench.assets, bench.now)
    assert names(bench.claim().changed) == ["clean"]


def test_an_old_failure_is_forgotten_once_one_is_completed(bench):
    bench.ask("clean")
    bench.discard(bench.claimed()["orders"])
    bench.make("orders", result={"rows": 1})
    assert bench.claimed()["clean"].upstream == {"orders": {"rows": 1}}


def test_other_partitions_of_the_upstream_do_not_count(bench):
    bench.make("orders", "q")
    bench.claim()
    bench.ask("clean", "p")
    (claim,) = bench.claim().claims
    assert (claim.materialization.asset, claim.materialization.partition) == ("orders", "p")


def test_waiting_candidates_do_not_count_for_the_limit(bench):
    for partition in "abcdef":
        bench.ask("clean", partition)
    bench.ask("items")
    found = bench.claim(limit=3)
    assert len(found.claims) == 3
    assert len(found.changed) >= 2


def test_claim_round_is_limited_and_reports_more_due(bench, monkeypatch):
    monkeypatch.setattr(claims, "CANDIDATE_LIMIT", 4)
    orders = [bench.ask("orders", f"p{number}") for number in range(6)]
    bench.claim()
    for number in range(6):
        bench.ask("orders", f"p{number}")
    bench.ask("items")
    found = bench.claim(limit=2)
    assert (found.claims, found.next_at) == ((), bench.now)
    assert [claim.materialization.asset for claim in bench.claim(limit=2).claims] == ["items"]
    assert len(orders) == 6


def test_unfinished_counts_active_materializations(bench):
    assert bench.store.queue.unfinished(bench.assets) == 0
    bench.ask("orders", "retrying")
    bench.fail(bench.claimed()["orders"], retry_in=timedelta(seconds=60))
    bench.ask("orders", "running")
    bench.claim()
    bench.ask("orders", "running")
    bench.claim()  # held back
    bench.ask("items", "pending")
    bench.store.materializations.cancel(bench.ask("items", "cancelled").id, bench.assets, bench.now)
    assert bench.store.queue.unfinished(bench.assets) == 4
    assert bench.store.queue.unfinished(bench.assets, bench.now) == 3
    assert bench.store.queue.unfinished(bench.assets, bench.now + timedelta(seconds=59)) == 3
    assert bench.store.queue.unfinished(bench.assets, bench.now + timedelta(seconds=60)) == 4
    assert bench.store.queue.unfinished(AssetGraph([bench.assets["items"]])) == 1
    assert bench.store.queue.unfinished(AssetGraph()) == 0
