"""A bench to try the store on: one runner, some sensors and assets, and a time that is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.attempt_result import AttemptResult, succeed
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.tick import (
    NewEvent,
    SensorCheckpoint,
    TickCommit,
    TickOutcome,
)
from tests.attempt_ends import finish
from tests.store.overlap_line import Line
from tests.store.schedule_desk import Desk


def make_asset(name, *upstreams, follow=False, max_attempts=3):
    return Asset(name, lambda context: None, upstreams, follow, max_attempts)


ASSETS = AssetGraph(
    [
        make_asset("orders"),
        make_asset("items"),
        make_asset("clean", "orders", max_attempts=5),
        make_asset("report", "clean", "items"),
        make_asset("mail", "orders", follow=True),
        make_asset("chart", "orders", "items", follow=True),
        make_asset("alone"),
    ]
)


END_LISTENERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    # What a listener did last; other connections end with COMMIT.
    "AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT EXISTS%')"
)
"""Ends the connections of listeners on PostgreSQL, and returns their number."""


class Driver:
    """Calls the store as a runner and an engine would."""

    def __init__(self, store):
        self.store = store
        self.assets = ASSETS
        self.now = datetime(2025, 1, 15, 12, tzinfo=UTC)
        self.runner("one")
        store.sensors.declare(["feed", "drop"], self.now)
        self.checkpoint = store.sensors.claim("one", ["feed", "drop"], self.now)

    def runner(self, name, lease=timedelta(days=1)):
        self.store.runners.register(
            RunnerInfo(name, f"host-{name}", 7, "machine", "0.1", self.now, self.now + lease)
        )

    def later(self, **duration):
        self.now += timedelta(**duration)
        return self.now

    def tick(self, sensor="feed", *events, error=None, before=None, **after):
        """Make what a tick commits: a good one, unless it has an error."""
        before = before or self.checkpoint[sensor]
        outcome = TickOutcome.TRIGGERED if events else TickOutcome.NOT_TRIGGERED
        if error is not None:
            outcome = TickOutcome.FAILED
            after.setdefault("version", before.version)
        after.setdefault("version", before.version + 1)
        after.setdefault("state", "1")
        after.setdefault("polled", error is None)
        checkpoint = SensorCheckpoint(**after)
        started = self.now - timedelta(seconds=1)
        return TickCommit(sensor, outcome, started, self.now, before, checkpoint, events, error)

    def event(self, key, asset="orders", partition="p", payload=None):
        return NewEvent(key, asset, partition, payload)

    def commit(self, *commits, owner="one"):
        results = self.store.ticks.commit(owner, commits, self.assets, self.now)
        for commit, result in zip(commits, results, strict=True):
            if result.committed:
                self.checkpoint[commit.sensor] = commit.after
        return results

    def fire(self, *events, sensor="feed"):
        (result,) = self.commit(self.tick(sensor, *events))
        assert result.committed
        return result

    def ask(self, asset, partition="p", payload=None):
        """Ask by hand; return the materialization."""
        return self.store.materializations.materialize(
            self.assets[asset], partition, self.assets, self.now, payload
        )[1]

    def claim(self, limit=100, runner_id="one"):
        return self.store.queue.claim(runner_id, limit, self.assets, self.now)

    def claimed(self, limit=100, runner_id="one"):
        """Claim; return the claims by asset."""
        claims = self.claim(limit, runner_id).claims
        by_asset = {claim.materialization.asset: claim for claim in claims}
        assert len(by_asset) == len(claims)
        return by_asset

    def complete(self, claim, result=None):
        return finish(self.store.queue, claim, succeed(result), self.assets, self.now)

    def fail(self, claim, error="no luck", retry_in=timedelta(seconds=5)):
        end = AttemptResult(
            AttemptOutcome.FAILED,
            MaterializationState.RETRYING,
            error,
            retry_at=self.now + retry_in,
        )
        return finish(self.store.queue, claim, end, self.assets, self.now)

    def discard(self, claim, error="gave up"):
        end = AttemptResult(AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, error)
        return finish(self.store.queue, claim, end, self.assets, self.now)

    def make(self, asset, partition="p", result=None):
        """Have a partition made, from asking to completion."""
        asked = self.ask(asset, partition)
        (claim,) = [c for c in self.claim().claims if c.materialization.id == asked.id]
        return self.complete(claim, result)[0]

    def states(self):
        """Return where the materializations stand, oldest first."""
        found = self.store.materializations.latest(limit=1_000)
        return [(m.asset, str(m.state)) for m in reversed(found)]

    def get(self, number):
        return self.store.materializations.get(number)


@pytest.fixture
def bench(store):
    return Driver(store)


@pytest.fixture
def desk(bench):
    return Desk(bench)


@pytest.fixture
def line(bench):
    made = Line(bench)
    made.schedule("a", "b")
    return made


@pytest.fixture
def other(store_url, backend):
    """A connection beside the store's, in a transaction."""
    with psycopg.connect(store_url) as connection:
        yield connection


@pytest.fixture
def waiting(store_url):
    """A function that returns once so many connections wait for a lock."""
    with psycopg.connect(store_url, autocommit=True) as connection:

        def until(count):
            query = (
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            clock = SystemClock()
            deadline = clock.monotonic() + 60
            while clock.monotonic() < deadline:
                if connection.execute(query).fetchone() == (count,):
                    return
            raise AssertionError(f"{count} connections were to wait, and do not")

        yield until
