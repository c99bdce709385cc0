"""Runners on PostgreSQL whose connections are held, ended, or lent by a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowstone_core.model.clock import SystemClock
from tests.flows.nodes import Cluster
from tests.flows.proxy import Pooler, StoreProxy
from tests.processes import until

STEPPED_DOWN = "no heartbeat succeeded for too long: stepping down"
RESUMED = "heartbeats succeed again: polling and claiming resumed"
CLOCK = SystemClock()

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@pytest.fixture
def cluster(store_url: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(store_url, tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def proxy(store_url: str) -> Iterator[StoreProxy]:
    proxy = StoreProxy(store_url)
    yield proxy
    proxy.close()


def test_S4_runner_that_is_cut_off_steps_down_and_says_so(
    cluster: Cluster, proxy: StoreProxy
) -> None:
    living, cut_off = cluster.start("living"), cluster.start("cut_off", store=proxy.url)
    cluster.until_even(living, cut_off)
    proxy.swallow()
    # Its heartbeat waits for an answer all the time.
    until(lambda: cut_off.logged(STEPPED_DOWN))
    stepped_down_at = CLOCK.monotonic()
    cluster.until_even(living)
    taken_over_at = CLOCK.monotonic()
    until(lambda: len(living.polled(taken_over_at)) == cluster.sensors)
    assert cut_off.polled(stepped_down_at) == set()
    proxy.pass_on()
    until(lambda: cut_off.logged(RESUMED))
    cluster.until_even(living, cut_off)
    until(lambda: cut_off.polled(taken_over_at) == cluster.owned_by(cut_off))


def test_S4_runner_whose_connections_were_ended_loses_nothing(cluster: Cluster) -> None:
    nodes = [cluster.start("one"), cluster.start("other")]
    cluster.until_even(*nodes)
    owners = cluster.owned_by(nodes[0])
    for _ in range(3):
        ended_at = CLOCK.monotonic()
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND classid = 70"
            )
        until(lambda at=ended_at: all(node.polled(at) for node in nodes))
        until(lambda: all(each.lock_key for each in cluster.store.runners.all()))
    assert cluster.owned_by(nodes[0]) == owners
    assert not any(node.logged("runner died") or node.logged("expired") for node in nodes)


def test_S11_behind_a_pooler_only_the_lease_tells_of_a_death(
    cluster: Cluster, store_url: str
) -> None:
    proxy = Pooler(store_url)
    living, pooled = cluster.start("living"), cluster.start("pooled", store=proxy.url)
    cluster.until_even(living, pooled)
    assert pooled.logged("no session lock behind a pooler")
    locks = {each.machine: each.lock_key is not None for each in cluster.store.runners.all()}
    assert locks == {"machine of living": True, "machine of pooled": False}
    pooled.kill()
    cluster.until_even(living)
    assert living.logged('reason="its lease has ended"')
    proxy.close()
