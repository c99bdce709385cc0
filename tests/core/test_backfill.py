"""Backfills, step by step and to the end: nothing twice, never too much at once."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from flowstone_core import Flowstone, Pipeline
from flowstone_core.asset import Asset, AssetGraph
from flowstone_core.attempt import AttemptEnd, succeed
from flowstone_core.backfill import Backfill, Order, plan
from flowstone_core.engine import RunnerInfo
from flowstone_core.errors import NotFoundError, StoreUnavailableError, ValidationError
from flowstone_core.materialization import AttemptOutcome, MaterializationState
from flowstone_core.span import partitions
from flowstone_core.store import Store
from flowstone_core.testing import FakeClock

ASSETS = AssetGraph([Asset("report", lambda context: None), Asset("other", lambda context: None)])
FIRST = date(2025, 1, 1)


def order(days=10, *, force=False, limit=4, asset="report"):
    return Order(asset, partitions(FIRST, date(2025, 1, days)), force, limit)


class Bench:
    """A store, and an engine that makes what it is told to."""

    def __init__(self, store):
        self.store = store
        self.clock = FakeClock()
        now = self.clock.now()
        until = now.replace(year=2030)
        store.register_runner(RunnerInfo("one", "host", 7, "machine", "0.1", now, until))
        self.claims = {}

    def backfill(self, *arguments, store=None, **options):
        backfills = (store or self.store).backfills
        return Backfill(order(*arguments, **options), backfills, self.clock, ASSETS)

    def ask(self, day, asset="report"):
        text = f"d:2025-01-{day:02}"
        return self.store.materialize(ASSETS[asset], text, ASSETS, self.clock.now())[1].id

    def start(self, limit=1_000):
        found = self.store.claim("one", limit, ASSETS, self.clock.now()).claims
        self.claims |= {int(claim.materialization.partition[-2:]): claim for claim in found}
        return [int(claim.materialization.partition[-2:]) for claim in found]

    def end(self, *days, discard=()):
        gone = AttemptEnd(AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, "gave up")
        for day in days or list(self.claims):
            end = gone if day in discard else succeed(None)
            self.store.finish(self.claims.pop(day), end, ASSETS, self.clock.now())

    def make(self, *days):
        for day in days:
            self.ask(day)
        self.start()
        self.end()

    def runs(self):
        """Return the days of all materializations, in the order they were asked for."""
        found = self.store.materializations(limit=1_000)
        return [int(item.partition[-2:]) for item in reversed(found)]


@pytest.fixture
def bench(store):
    return Bench(store)


def counts(progress):
    return {
        name: number
        for name in ("completed", "skipped", "failed", "unfinished", "left")
        if (number := getattr(progress, name))
    }


def test_it_asks_for_the_next_as_others_end(bench):
    backfill = bench.backfill()
    assert counts(backfill.step()) == {"unfinished": 4, "left": 6}
    assert counts(backfill.step()) == {"unfinished": 4, "left": 6}
    assert bench.start() == [1, 2, 3, 4]
    bench.end(2, 3)
    assert counts(backfill.step()) == {"completed": 2, "unfinished": 4, "left": 4}
    assert bench.runs() == [1, 2, 3, 4, 5, 6]
    while not (progress := backfill.step()).finished:
        bench.start()
        bench.end()
    assert counts(progress) == {"completed": 10}
    assert (progress.total, progress.done) == (10, 10)
    assert bench.runs() == list(range(1, 11))
    assert backfill.step() == progress
