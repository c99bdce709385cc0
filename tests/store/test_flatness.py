"""What a call costs does not grow with what is in the store already."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core.model.attempt_result import succeed
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store
from tests.attempt_ends import finish
from tests.store.sqlite_steps import steps

HISTORY = 400
"""Rows of each kind; to read them all takes some steps for each."""

SLACK = 100
"""Steps by which a call may differ: trees grow deeper, numbers get longer."""


def fill(bench):
    """Leave a history behind: of the same sensor, the same partition, and the same assets."""
    names = [f"{kind}{number}" for kind in ("old", "older") for number in range(HISTORY // 2)]
    bench.fire(*(bench.event(name, "alone", name) for name in names))
    for claim in bench.claim(limit=HISTORY).claims:
        bench.complete(claim)
    for number in range(40):
        bench.make("alone", "p")
        bench.commit(bench.tick("feed", error=f"no {number}"))
    # Many that wait for others, which wait for their time.
    bench.fire(*(bench.event(f"wait {name}", "clean", name) for name in names))
    for claim in bench.claim(limit=HISTORY).claims:
        bench.fail(claim, retry_in=timedelta(days=1))
    assert bench.claim().claims == ()


def calls(bench):
    """Everything that runners and engines do over and over, by name."""
    store, claimed = bench.store, []

    def claim():
        claimed[:] = bench.claim(limit=2).claims
        assert len(claimed) == 2

    return {
        "commit a tick": lambda: bench.fire(
            bench.event("k1", "alone", "p"), bench.event("k2", "items", "p")
        ),
        "commit a duplicate": lambda: bench.fire(bench.event("k1", "alone", "p")),
        "claim": claim,
        "claim nothing": bench.claim,
        "ask for stale tokens": lambda: store.queue.stale_tokens([item.token for item in claimed]),
        "recover nothing": lambda: store.queue.recover(
            bench.now, "one", [c.token for c in claimed]
        ),
        "give back": lambda: store.queue.release(claimed, bench.now),
        "claim again": claim,
        "finish": lambda: [
            finish(store.queue, item, succeed(None), bench.assets, bench.now) for item in claimed
        ],
        "ask for what was made": lambda: bench.ask("alone"),
        "cancel": lambda: store.materializations.cancel(
            store.materializations.latest(asset="alone", limit=1)[0].id, bench.assets, bench.now
        ),
        "survey": lambda: store.survey("one", bench.now),
        "list": lambda: [
            store.ticks.latest(source="sensor:drop"),
            store.events.latest(source="sensor:drop"),
            store.events.latest(asset="items"),
            store.materializations.latest(asset="items"),
            store.materializations.latest(state=MaterializationState.CANCELLED),
        ],
    }


@pytest.mark.parametrize("backend", ["sqlite"])
def test_D16_no_call_costs_more_in_a_filled_store(bench, backend, tmp_path):
    cost = {name: steps(bench.store, call) for name, call in calls(bench).items()}
    assert min(cost.values()) > 10
    filled = type(bench)(Store.open(f"sqlite:///{tmp_path / 'filled.db'}"))
    fill(filled)
    more = {name: steps(filled.store, call) - cost[name] for name, call in calls(filled).items()}
    filled.store.close()
    assert {name: count for name, count in more.items() if count > SLACK} == {}
