"""A backfill that is cancelled by another process ends, and asks for nothing more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core.runtime.backfill.backfill import SEEN_EVERY
from tests.runtime.backfill.test_backfill import ASSETS, Driver, counts


@pytest.fixture
def bench(store):
    return Driver(store)


def test_X10_cancelled_backfill_waits_for_what_runs_and_ends(bench):
    backfill = bench.backfill(10)
    backfill.step()
    bench.start(limit=1)
    record = bench.store.backfills.cancel(1, bench.clock.now())
    for pending in bench.store.backfills.only_pending(record):
        bench.store.materializations.cancel(pending, ASSETS, bench.clock.now())
    progress = backfill.step()
    assert (progress.cancelled, progress.finished) == (True, False)
    assert counts(progress) == {"unfinished": 1, "left": 9}
    bench.end()
    progress = backfill.step()
    assert (progress.cancelled, progress.finished) == (True, True)
    assert counts(progress) == {"completed": 1, "left": 9}
    assert bench.asked(1) == [1, 2, 3, 4]
    assert bench.store.backfills.get(1).cancelled_at is not None
    following = bench.backfill(10)
    assert bench.finish(following).backfill == 2


def test_X10_cancelled_backfill_waits_for_no_others(bench):
    bench.ask(1, 2)
    backfill = bench.backfill(2)
    assert counts(backfill.step()) == {"unfinished": 2}
    bench.store.backfills.cancel(1, bench.clock.now())
    assert backfill.step().finished
    assert bench.start() == [1, 2]


def test_X10_cancellation_between_look_and_request_asks_for_nothing(bench, monkeypatch):
    backfill = bench.backfill(3)
    looked = bench.store.backfills.get

    def get(number):
        found = looked(number)
        if found.cancelled_at is None:
            bench.store.backfills.cancel(number, bench.clock.now())
        return found

    monkeypatch.setattr(bench.store.backfills, "get", get)
    progress = backfill.step()
    assert (progress.cancelled, progress.finished, counts(progress)) == (True, True, {"left": 3})
    assert bench.asked(1) == []


def test_X10_failed_materialization_of_a_cancelled_backfill_is_failed(bench):
    backfill = bench.backfill(3)
    backfill.step()
    bench.start(limit=1)
    bench.store.backfills.cancel(1, bench.clock.now())
    bench.end(discard=True)
    assert counts(backfill.step()) == {"failed": 1, "unfinished": 2}


def test_X10_process_notes_that_it_works_twice_a_minute(bench):
    backfill, begun = bench.backfill(3), bench.clock.now()

    def seen():
        return bench.store.backfills.get(1).seen_at

    backfill.leave()  # before its first step: nothing to leave
    backfill.step()
    assert seen() == begun
    bench.clock.advance(SEEN_EVERY - timedelta(seconds=1))
    backfill.step()
    assert seen() == begun
    bench.clock.advance(1)
    backfill.step()
    assert seen() == bench.clock.now()
    backfill.leave()
    assert seen() is None
    backfill.step()
    assert seen() == bench.clock.now()
    ended = bench.finish(backfill)
    assert ended.total == bench.store.backfills.get(1).total == 3
    backfill.leave()
    assert seen() is not None
