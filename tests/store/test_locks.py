"""Who waits for whom on PostgreSQL: races made to happen, by holding a lock of the test's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from flowstone_core.model.tick import TickOutcome

pytestmark = pytest.mark.parametrize("backend", ["postgresql"])


@contextmanager
def threads(*functions):
    """Run functions beside the body, and hand out their futures."""
    with ThreadPoolExecutor(len(functions)) as pool:
        yield [pool.submit(function) for function in functions]


def test_of_two_commits_that_wait_for_the_same_sensor_the_second_is_stale(bench, other, waiting):
    commit = bench.tick("feed")
    assert commit.outcome is TickOutcome.NOT_TRIGGERED
    other.execute("SELECT 1 FROM flowstone_sensors WHERE name = 'feed' FOR UPDATE")
    with threads(*[lambda: bench.commit(commit)[0].committed] * 2) as jobs:
        waiting(2)
        other.rollback()
        assert sorted(job.result(60) for job in jobs) == [False, True]
    assert bench.store.sensors.get("feed").checkpoint.version == 1


def test_a_commit_that_waited_for_a_pause_is_stale(bench, other, waiting):
    other.execute("UPDATE flowstone_sensors SET paused = true, owner = NULL WHERE name = 'feed'")
    with threads(lambda: bench.commit(bench.tick("feed", bench.event("k")))) as (job,):
        waiting(1)
        other.commit()
        assert job.result(60)[0].committed is False
    assert bench.store.events.latest() == []


def test_finishing_and_claiming_lock_in_the_same_order(bench, other, waiting):
    clean = bench.ask("clean")
    claim = bench.claimed()["orders"]
    # As one who claims: first what may start, then what it depends on.
    lock = "SELECT 1 FROM flowstone_materializations WHERE id = %s FOR "
    other.execute(lock + "UPDATE", [clean.id])
    with threads(lambda: bench.complete(claim)) as (job,):
        waiting(1)
        other.execute(lock + "SHARE NOWAIT", [claim.materialization.id])
        other.rollback()
        assert job.result(60)[0].state == "completed"
    assert "clean" in bench.claimed()


def test_claim_waits_for_pending_ones_before_it_locks_running_ones(bench, other, waiting):
    bench.ask("orders", "running")
    bench.ask("orders", "pending")
    claim = bench.claim(limit=1).claims[0]
    pending = bench.store.materializations.latest(limit=1)[0]
    # As one who ends several: first what waits, then what has ended.
    lock = "SELECT 1 FROM flowstone_materializations WHERE id = %s FOR UPDATE"
    other.execute(lock, [pending.id])
    for partition in ("running", "pending"):
        bench.ask("clean", partition)
    with threads(bench.claim) as (job,):
        waiting(1)
        other.execute(lock + " NOWAIT", [claim.materialization.id])
        other.rollback()
        assert [claim.materialization.id for claim in job.result(60).claims] == [pending.id]


def test_claim_locks_dependencies_until_its_commit(bench, other, waiting):
    bench.ask("orders")
    claim = bench.claimed()["orders"]
    clean = bench.ask("clean")
    # As a claimer does it: first what it would start, then what that depends on.
    look = "SELECT 1 FROM flowstone_materializations WHERE id = %s "
    other.execute(look + "FOR UPDATE", [clean.id])
    other.execute(look + "FOR SHARE", [claim.materialization.id])
    with threads(lambda: bench.complete(claim)) as (job,):
        waiting(1)
        other.execute(
            "UPDATE flowstone_materializations SET available_at = NULL WHERE id = %s", [clean.id]
        )
        other.commit()
        job.result(60)
    assert "clean" in bench.claimed()


def test_joining_event_blocks_a_claim(bench, other):
    asked = bench.ask("orders")
    other.execute("SELECT 1 FROM flowstone_materializations WHERE id = %s FOR SHARE", [asked.id])
    assert bench.claim().claims == ()
    other.rollback()
    assert set(bench.claimed()) == {"orders"}


def test_event_waits_for_claim_and_creates_the_next_one(bench, other, waiting):
    asked = bench.ask("orders")
    number = asked.id
    other.execute(
        "UPDATE flowstone_materializations SET state = 'running', token = 't', available_at = NULL "
        "WHERE id = %s",
        [number],
    )
    with threads(lambda: bench.fire(bench.event("k"))) as (job,):
        waiting(1)
        other.commit()
        (made,) = job.result(60).materializations
    assert made.id != number
    assert bench.claim().claims == ()
    assert bench.get(made.id).waiting_for == f"the previous run, #{number}"


def test_dependency_completed_meanwhile_is_not_rerun(bench, other, waiting):
    clean = bench.ask("clean")
    other.execute(
        "INSERT INTO flowstone_materializations "
        "(run_id, asset, partition, state, attempt, max_attempts, requested_at) "
        "VALUES ('other', 'orders', 'p', 'pending', 0, 3, now())"
    )
    with threads(bench.claim) as (job,):
        waiting(1)
        other.execute(
            "UPDATE flowstone_materializations SET state = 'completed', finished_at = now() "
            "WHERE run_id = 'other'"
        )
        other.commit()
        found = job.result(60)
    assert [claim.materialization.id for claim in found.claims] == [clean.id]
    assert found.changed == ()
    assert bench.states() == [("clean", "running"), ("orders", "completed")]
