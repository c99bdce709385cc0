"""A claim and an end cost a number of statements that does not depend on how many they carry."""

from __future__ import annotations

from collections import Counter

import pytest

from flowstone_core.model.attempt_result import AttemptResult, succeed
from flowstone_core.model.engine import AttemptEnd
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from tests.statements import listening
from tests.store.overlap_line import Line

SIZES = (1, 10, 100)


def counted(call):
    """Call a function; return its result, and the statements it executed."""
    found = Counter()
    with listening(lambda statement: found.update([" ".join(statement.split()[:3])])):
        result = call()
    return result, found


def end_all(bench, claims, result):
    return bench.store.queue.finish(
        [AttemptEnd(claim, result) for claim in claims], bench.assets, bench.now
    )


def ask_many(bench, asset, size):
    bench.fire(*(bench.event(f"{asset} {size} {n}", asset, f"{size}-{n}") for n in range(size)))


def ended(bench, outcome, state, **values):
    retry_at = bench.now if state is MaterializationState.RETRYING else None
    return AttemptResult(outcome, state, retry_at=retry_at, **values)


RESULTS = {
    "completed": lambda bench: succeed({"made": 1}),
    "retried": lambda bench: ended(
        bench, AttemptOutcome.FAILED, MaterializationState.RETRYING, error="no luck"
    ),
    "discarded": lambda bench: ended(
        bench, AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, error="gave up"
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_claims_and_ends_cost_the_same_statements_for_any_number(bench, name):
    costs = []
    for size in SIZES:
        ask_many(bench, "alone", size)
        found, claim = counted(lambda size=size: bench.claim(size))
        assert len(found.claims) == size
        result = RESULTS[name](bench)
        ends, end = counted(lambda found=found, result=result: end_all(bench, found.claims, result))
        assert len(ends.changed) == size
        costs.append((claim, end))
        while claims := bench.claim().claims:  # what is retried
            end_all(bench, claims, succeed(None))
    assert costs[0] == costs[1] == costs[2]
    assert min(sum(part.values()) for part in costs[0]) > 3


def test_ends_with_followers_cost_the_same_statements(bench):
    costs = []
    for size in SIZES:
        ask_many(bench, "orders", size)
        claims = bench.claim(size).claims
        ends, cost = counted(lambda claims=claims: end_all(bench, claims, succeed(None)))
        assert Counter(item.asset for item in ends.changed) == dict.fromkeys(
            ("orders", "mail", "chart"), size
        )
        costs.append(cost)
        drain(bench)
    assert costs[0] == costs[1] == costs[2]


def test_claims_that_wait_for_dependencies_cost_the_same_statements(bench):
    costs = []
    for size in SIZES:
        ask_many(bench, "report", size)
        found, cost = counted(lambda size=size: bench.claim(3 * size))
        assert len(found.claims) == 2 * size, "items and orders"
        costs.append(cost)
        end_all(bench, found.claims, succeed(None))
        drain(bench)
    assert costs[0] == costs[1] == costs[2]


def test_claims_of_the_ready_with_dependencies_cost_the_same_statements(bench):
    costs = []
    for size in SIZES:
        ask_many(bench, "orders", size)
        drain(bench)
        ask_many(bench, "clean", size)
        found, cost = counted(lambda size=size: bench.claim(size))
        assert [claim.upstream for claim in found.claims] == [{"orders": None}] * size
        costs.append(cost)
        end_all(bench, found.claims, succeed(None))
        drain(bench)
    assert costs[0] == costs[1] == costs[2]


def test_discards_for_a_failed_dependency_cost_the_same_statements(bench):
    costs = []
    for size in SIZES:
        ask_many(bench, "clean", size)
        claims = bench.claim(2 * size).claims
        end_all(bench, claims, RESULTS["discarded"](bench))
        found, cost = counted(lambda size=size: bench.claim(size))
        assert [item.state for item in found.changed] == ["discarded"] * size
        costs.append(cost)
    assert costs[0] == costs[1] == costs[2]


def test_ends_in_overlap_queues_cost_the_same_statements(bench):
    line = Line(bench)
    line.schedule(*(f"s{n}" for n in range(max(SIZES))), pause_on_failure=True)
    costs = []
    for size in SIZES:
        for n in range(size):
            line.fire(f"{size}-{n}-first", f"{size}-{n}-second", name=f"s{n}")
        claims = bench.claim(2 * size).claims
        assert len(claims) == size
        _, cost = counted(lambda claims=claims: end_all(bench, claims, succeed(None)))
        costs.append(cost)
        second = bench.claim(2 * size).claims
        assert len(second) == size
        end_all(bench, second, succeed(None))
    assert costs[0] == costs[1] == costs[2]


def test_releases_and_losses_cost_the_same_statements(bench):
    costs = []
    for size in SIZES:
        ask_many(bench, "alone", size)
        claims = bench.claim(size).claims
        _, release = counted(lambda claims=claims: bench.store.queue.release(claims, bench.now))
        assert len(bench.claim(size, runner_id="ghost").claims) == size
        lost, recover = counted(lambda: bench.store.queue.recover(bench.now))
        assert len(lost) == size
        costs.append((release, recover))
        drain(bench)
    assert costs[0] == costs[1] == costs[2]


def test_a_stale_end_disturbs_none_of_the_others(bench):
    ask_many(bench, "alone", 3)
    claims = bench.claim(3).claims
    bench.store.queue.release([claims[1]], bench.now)
    ends = end_all(bench, claims, succeed({"made": 1}))
    assert [item.id for item in ends.changed] == [
        claim.materialization.id for claim in (claims[0], claims[2])
    ]
    assert set(ends.stale) == {claims[1].token}
    assert bench.get(claims[1].materialization.id).state == "retrying"
    for item in ends.changed:
        assert bench.get(item.id) == item


def test_lost_materialization_is_not_claimed_ahead(bench):
    ask_many(bench, "alone", 4)
    bench.claim(4, runner_id="ghost")
    bench.store.queue.recover(bench.now)
    ask_many(bench, "items", 2)
    queue = bench.store.queue
    assert queue.claim("one", 0, bench.assets, bench.now, 10).claims == ()
    assert len(queue.claim("one", 3, bench.assets, bench.now, 10).claims) == 3
    assert len(queue.claim("one", 1, bench.assets, bench.now, 10).claims) == 1
    assert len(queue.claim("one", 0, bench.assets, bench.now, 10).claims) == 2


def drain(bench):
    for _ in range(10):
        bench.later(seconds=1)
        claims = bench.claim(1_000).claims
        end_all(bench, claims, succeed(None))
        if not claims and not bench.store.queue.unfinished(bench.assets):
            return
    raise AssertionError("something waits for ever")
