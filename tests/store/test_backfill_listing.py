"""Backfills in the store: listed, counted, seen and cancelled."""

from __future__ import annotations

import pytest

from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.materialization import MaterializationState


def begin(bench, asset="alone", last="d:2025-01-31"):
    identity = (asset, "d:2025-01-01", last, "day")
    return bench.store.backfills.begin(*identity, force=False, now=bench.now)[0]


def ask(bench, backfill, *days):
    texts = [f"d:2025-01-{day:02}" for day in days]
    return bench.store.backfills.request(backfill, texts, bench.assets, bench.now)


def latest(bench, **options):
    return [each.id for each in bench.store.backfills.latest(**options)]


def test_X10_backfills_are_listed_newest_first(bench):
    begin(bench), begin(bench, "orders"), begin(bench, last="d:2025-02-28")
    bench.store.backfills.finish(3, bench.now)
    assert latest(bench) == [3, 2, 1]
    assert latest(bench, asset="alone") == [3, 1]
    assert latest(bench, unfinished=True) == [2, 1]
    assert latest(bench, limit=1) == [3]
    assert latest(bench, before_id=3) == [2, 1]
    assert bench.store.backfills.get(2).asset == "orders"
    with pytest.raises(NotFoundError, match="unknown backfill 9"):
        bench.store.backfills.get(9)


def test_X10_requests_are_counted_by_state_of_each_backfill(bench):
    first, second, idle = begin(bench), begin(bench, last="d:2025-02-28"), begin(bench, "orders")
    ask(bench, first, 1, 2, 3)
    ask(bench, second, 4)
    number = bench.store.backfills.partition_states(
        "alone", ["d:2025-01-02"], force=False, backfill=first
    )["d:2025-01-02"].requested_id
    bench.store.materializations.cancel(number, bench.assets, bench.now)
    assert bench.store.backfills.counts([first, second, idle]) == {
        1: {MaterializationState.PENDING: 2, MaterializationState.CANCELLED: 1},
        2: {MaterializationState.PENDING: 1},
        3: {},
    }
    assert bench.store.backfills.counts([]) == {}


def test_X10_backfill_notes_when_it_was_worked_on(bench):
    backfill = begin(bench)
    assert (backfill.total, backfill.seen_at) == (None, None)
    bench.store.backfills.see(1, 31, bench.later(seconds=1))
    found = bench.store.backfills.get(1)
    assert (found.total, found.seen_at) == (31, bench.now)
    bench.store.backfills.leave(1)
    assert bench.store.backfills.get(1).seen_at is None
    bench.store.backfills.see(1, 31, bench.now)
    bench.store.backfills.finish(1, bench.now)
    bench.store.backfills.leave(1)
    bench.store.backfills.see(1, 31, bench.later(hours=1))
    assert bench.store.backfills.get(1).seen_at == found.seen_at


def test_X10_cancelled_backfill_requests_nothing_and_begins_anew(bench):
    backfill = begin(bench)
    ask(bench, backfill, 1)
    found = bench.store.backfills.cancel(1, bench.later(hours=1))
    assert (found.cancelled_at, found.finished_at) == (bench.now, bench.now)
    (standing,) = ask(bench, backfill, 2).values()
    assert standing.missing
    assert len(bench.store.events.latest()) == 1
    with pytest.raises(ConflictError, match="cannot cancel backfill 1: it is cancelled already"):
        bench.store.backfills.cancel(1, bench.now)
    with pytest.raises(NotFoundError, match="unknown backfill 7"):
        bench.store.backfills.cancel(7, bench.now)
    assert begin(bench).id == 2
    bench.store.backfills.finish(2, bench.now)
    with pytest.raises(ConflictError, match="it is finished already"):
        bench.store.backfills.cancel(2, bench.now)


def test_X10_materializations_that_others_requested_too_stay(bench):
    backfill = begin(bench)
    asked = [each.requested_id for each in ask(bench, backfill, 1, 2, 3).values()]
    bench.store.queue.claim("one", 1, bench.assets, bench.now)  # the first one runs
    bench.store.materializations.materialize(
        bench.assets["alone"], "d:2025-01-02", bench.assets, bench.now
    )
    assert bench.store.backfills.only_pending(backfill) == [asked[2]]
