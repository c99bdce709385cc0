"""Materializations in the store: listed, asked for by hand, retried, cancelled."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from flowstone_core.errors import ConflictError, NotFoundError, StoreError, ValidationError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import schema


def test_asking_by_hand_makes_an_event_and_a_materialization(bench):
    event, made = bench.store.materializations.materialize(
        bench.assets["clean"], "d:2025-01-15", bench.assets, bench.now, {"full": True}
    )
    assert (event.source, event.asset, event.partition) == ("manual", "clean", "d:2025-01-15")
    assert (event.payload, event.materialization_id) == ({"full": True}, made.id)
    assert (made.state, made.asset, made.max_attempts) == ("pending", "clean", 5)
    assert bench.store.events.latest() == [event]
    assert bench.store.materializations.latest() == [made]


def test_asking_twice_is_two_events_for_one_materialization(bench):
    first, second = bench.ask("orders"), bench.ask("orders")
    assert first.id == second.id
    assert len(bench.store.materializations.events(first.id)) == 2


def test_a_payload_that_is_no_json_is_refused(bench):
    with pytest.raises(ValidationError, match="the payload"):
        bench.ask("orders", payload={"x": {1, 2}})
    assert bench.store.events.latest() == []


def test_materializations_are_listed_newest_first_in_pages(bench):
    for number in range(4):
        bench.ask("orders", f"p{number}")
        bench.ask("items", f"p{number}")
    listed = bench.store.materializations.latest
    page = listed(asset="orders", limit=3)
    assert [item.partition for item in page] == ["p3", "p2", "p1"]
    assert [item.partition for item in listed(asset="orders", before_id=page[-1].id)] == ["p0"]
    assert [item.asset for item in listed(partition="p2")] == ["items", "orders"]
    bench.claim(limit=3)
    assert len(listed(state=MaterializationState.RUNNING)) == 3
    assert len(listed(state=MaterializationState.PENDING, asset="items", partition="p3")) == 1
    assert len(listed()) == 8


def test_one_that_is_not_there(bench):
    for call in (
        bench.store.materializations.get,
        lambda number: bench.store.materializations.retry(number, bench.assets, bench.now),
        lambda number: bench.store.materializations.cancel(number, bench.assets, bench.now),
    ):
        with pytest.raises(NotFoundError, match="unknown materialization #404"):
            call(404)
    assert bench.store.materializations.attempts(404) == []


def test_counts_by_state(bench):
    assert set(bench.store.materializations.counts()) == set(MaterializationState)
    assert set(bench.store.materializations.counts().values()) == {0}
    bench.make("items")
    bench.ask("items", "q")
    counts = bench.store.materializations.counts()
    assert counts[MaterializationState.COMPLETED] == 1
    assert counts[MaterializationState.PENDING] == 2  # that one, and the chart, which follows
    assert sum(counts.values()) == 3


# -- retried ---------------------------------------------------------------------------------------


def discarded(bench, asset="items"):
    bench.ask(asset)
    return bench.discard(bench.claimed()[asset], "gave up")[0]


def cancelled(bench, asset="items"):
    return bench.store.materializations.cancel(bench.ask(asset).id, bench.assets, bench.now)[0]


@pytest.mark.parametrize("ended", [discarded, cancelled])
def test_retry_of_a_failed_one_makes_it_pending(bench, ended):
    found = ended(bench)
    bench.later(hours=1)
    again = bench.store.materializations.retry(found.id, bench.assets, bench.now)
    assert (again.state, again.run_id) == ("pending", found.run_id)
    assert (again.requested_at, again.available_at) == (bench.now, bench.now)
    assert (again.finished_at, again.error) == (None, found.error)
    assert again.max_attempts == found.attempt + 3
    claim = bench.claimed()["items"]
    assert claim.materialization.attempt == found.attempt + 1
    assert bench.complete(claim)[0].state == "completed"


@pytest.mark.parametrize("known", [None, "other assets"])
def test_one_whose_asset_is_not_known_gets_one_more_attempt(bench, known):
    found = discarded(bench)
    assets = None if known is None else AssetGraph([bench.assets["orders"]])
    assert (
        bench.store.materializations.retry(found.id, assets, bench.now).max_attempts
        == found.attempt + 1
    )


def test_retry_of_upstream_and_then_of_its_dependent(bench):
    clean = bench.ask("clean")
    orders = bench.discard(bench.claimed()["orders"])[0]
    bench.claim()
    bench.later(seconds=1)
    bench.store.materializations.retry(clean.id, bench.assets, bench.now)
    bench.store.materializations.retry(orders.id, bench.assets, bench.now)
    assert set(bench.claimed()) == {"orders"}
    assert bench.get(clean.id).waiting_for == f"orders #{orders.id}"


def test_retry_with_a_pending_one_for_the_partition_is_refused(bench):
    found = discarded(bench)
    pending = bench.ask("items")
    with pytest.raises(ConflictError, match=f"#{pending.id} is pending for the same partition"):
        bench.store.materializations.retry(found.id, bench.assets, bench.now)
    assert bench.get(found.id) == found


def test_retrying_while_another_one_runs_waits_for_it(bench):
    found = discarded(bench)
    running = bench.ask("items")
    bench.claim()
    bench.store.materializations.retry(found.id, bench.assets, bench.now)
    bench.claim()
    assert bench.get(found.id).waiting_for == f"the previous run, #{running.id}"


def test_one_that_waits_for_its_next_attempt_is_tried_at_once(bench):
    bench.ask("items")
    waiting = bench.fail(bench.claimed()["items"])[0]
    bench.later(seconds=1)
    found = bench.store.materializations.retry(waiting.id, bench.assets, bench.now)
    assert (found.state, found.available_at) == ("retrying", bench.now)
    assert found.max_attempts == waiting.max_attempts
    assert set(bench.claimed()) == {"items"}


def test_retry_in_a_wrong_state_is_refused(bench):
    made = bench.make("items")
    pending = bench.ask("items", "q")
    with pytest.raises(ConflictError, match=f"#{made.id}: its state is completed.*materialize"):
        bench.store.materializations.retry(made.id, bench.assets, bench.now)
    with pytest.raises(ConflictError, match=f"#{pending.id}: its state is pending"):
        bench.store.materializations.retry(pending.id, bench.assets, bench.now)
    bench.claim()
    with pytest.raises(ConflictError, match=f"#{pending.id}: its state is running"):
        bench.store.materializations.retry(pending.id, bench.assets, bench.now)


# -- cancelled -------------------------------------------------------------------------------------


def test_one_that_waits_is_cancelled(bench):
    number = bench.ask("items").id
    bench.later(seconds=1)
    (gone,) = bench.store.materializations.cancel(number, bench.assets, bench.now)
    assert gone == bench.get(number)
    assert (gone.state, gone.finished_at, gone.available_at) == ("cancelled", bench.now, None)
    assert bench.claim().claims == ()


def test_one_that_is_held_back_is_cancelled(bench):
    clean = bench.ask("clean")
    bench.claim()
    (gone,) = bench.store.materializations.cancel(clean.id, bench.assets, bench.now)
    assert (gone.state, gone.waiting_for) == ("cancelled", None)


def test_one_that_runs_is_cancelled_and_its_attempt_closed(bench):
    bench.ask("items")
    claim = bench.claimed()["items"]
    bench.later(seconds=1)
    (gone,) = bench.store.materializations.cancel(claim.materialization.id, bench.assets, bench.now)
    assert gone.state == "cancelled"
    (attempt,) = bench.store.materializations.attempts(gone.id)
    assert (attempt.outcome, attempt.finished_at) == (AttemptOutcome.CANCELLED, bench.now)
    assert bench.store.queue.stale_tokens([claim.token]) == {claim.token}


def test_one_between_two_attempts_is_cancelled_and_its_attempts_stay(bench):
    bench.ask("items")
    waiting = bench.fail(bench.claimed()["items"])[0]
    before = bench.store.materializations.attempts(waiting.id)
    (gone,) = bench.store.materializations.cancel(waiting.id, bench.assets, bench.now)
    assert (gone.state, gone.error) == ("cancelled", "no luck")
    assert bench.store.materializations.attempts(waiting.id) == before


def test_cancelling_lets_the_next_one_of_the_partition_go(bench):
    first = bench.ask("items")
    bench.claim()
    second = bench.ask("items")
    bench.claim()
    bench.store.materializations.cancel(first.id, bench.assets, bench.now)
    assert bench.claimed()["items"].materialization.id == second.id


def test_one_that_has_ended_cannot_be_cancelled(bench):
    for found in (bench.make("items"), discarded(bench), cancelled(bench)):
        with pytest.raises(
            ConflictError,
            match=f"#{found.id}: its state is {found.state}",
        ):
            bench.store.materializations.cancel(found.id, bench.assets, bench.now)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "running"},
        {"token": "x"},
        {"state": "completed"},
    ],
)
def test_database_refuses_invalid_states(bench, wrong):
    bench.ask("items")
    with pytest.raises(StoreError, match=r"(?i)check constraint"):
        bench.store._database.write(
            lambda connection: connection.execute(update(schema.materializations).values(wrong))
        )


def test_database_refuses_two_pending_or_started_of_one_partition(bench):
    bench.ask("items", "p")
    bench.ask("items", "q")
    same = update(schema.materializations).values(partition="p")
    for state in ("pending", "running"):
        assert {str(item.state) for item in bench.store.materializations.latest()} == {state}
        with pytest.raises(StoreError, match=r"(?i)unique"):
            bench.store._database.write(lambda connection: connection.execute(same))
        bench.claim()
