"""Several runners on one store as real processes: they join, leave, die and freeze."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowstone_core.model.clock import SystemClock
from tests.flows.nodes import Cluster, Node
from tests.processes import until

TAKEN = "taken over by another runner; no longer ticked here"
CLOCK = SystemClock()


@pytest.fixture
def cluster(store_url: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(store_url, tmp_path)
    yield cluster
    cluster.close()


def started(cluster: Cluster, *names: str, **options: object) -> list[Node]:
    nodes = [cluster.start(name, **options) for name in names]
    cluster.until_even(*nodes)
    return nodes


def until_polled(nodes: list[Node], names: set[str]) -> None:
    """Wait until each of the sensors is polled anew, by any of the nodes."""
    now = CLOCK.monotonic()
    until(lambda: set().union(*(node.polled(now) for node in nodes)) >= names)


def test_R2_runners_that_join_and_leave_share_evenly(cluster: Cluster) -> None:
    (first,) = started(cluster, "first")
    second = cluster.start("second")
    cluster.until_even(first, second)
    third = cluster.start("third")
    cluster.until_even(first, second, third)
    second.leave()
    cluster.until_even(first, third)
    until_polled([first, third], {each.name for each in cluster.store.sensors.all()})
    assert all("discarded" not in node.log.read_text() for node in cluster.nodes)


def until_settled(url: str) -> None:
    """Wait until the start of the server is so long ago that a missing lock means a death."""
    query = "SELECT pg_postmaster_start_time() < clock_timestamp() - interval '5 s'"
    with psycopg.connect(url, autocommit=True) as connection:
        until(lambda: connection.execute(query).fetchone() == (True,))


def test_D8_R2_share_of_a_killed_runner_is_divided(cluster: Cluster, backend: str) -> None:
    first, second, third = started(cluster, "first", "second", "third")
    if backend == "postgresql":
        until_settled(cluster.url)
    second.kill()
    cluster.until_even(first, third)
    log = first.log.read_text() + third.log.read_text()
    # A lost session tells of a death before the lease ends.
    reason = "its connection has ended" if backend == "postgresql" else "its lease has ended"
    assert f'reason="{reason}"' in log
    until_polled([first, third], {each.name for each in cluster.store.sensors.all()})


def test_R2_D9_woken_runner_polls_nothing_beside_the_new_owner(cluster: Cluster) -> None:
    living, frozen = started(cluster, "living", "frozen")
    before = cluster.owned_by(frozen)
    until_polled([frozen], before)
    frozen.send(signal.SIGSTOP)
    cluster.until_even(living)
    until_polled([living], before)
    woken_at = CLOCK.monotonic()
    frozen.send(signal.SIGCONT)
    until(lambda: frozen.logged(TAKEN))
    cluster.until_even(living, frozen)
    after = cluster.owned_by(frozen)
    until_polled([living, frozen], before | after)
    # A poll that had begun ends; none begins before the runner knows what it still owns.
    polls = Counter(name for at, name in frozen.polls() if at > woken_at)
    assert {name: count for name, count in polls.items() if name not in after and count > 1} == {}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("ahead", [60, -60])
def test_T8_wrong_clock_neither_steals_nor_loses(cluster: Cluster, ahead: int) -> None:
    right = cluster.start("right")
    cluster.until_even(right)
    asked = cluster.store.materializations
    wrong = cluster.start("wrong", ahead=ahead, schedules=1)
    cluster.until_even(right, wrong)
    until(lambda: wrong.logged("the clock of this machine differs from the store's"))
    owners = cluster.owned_by(right)
    for _ in range(3):  # more than a lease
        until_polled([right, wrong], {each.name for each in cluster.store.sensors.all()})
    (runner,) = [each for each in cluster.store.runners.all() if each.machine.endswith("wrong")]
    assert abs((runner.clock_offset or 0) - ahead) < 1
    assert cluster.owned_by(right) == owners
    assert not right.logged(TAKEN)
    assert not right.logged("lease expired")
    assert not right.logged("runner died")
    assert asked.latest() == []


def test_runners_with_different_files_share_what_each_can_tick(cluster: Cluster) -> None:
    # 20 only the one, 10 both, 10 only the other is able to poll.
    cluster.sensors = 40
    one, other = cluster.start("one", sensors=[0, 30]), cluster.start("other", sensors=[20, 40])
    cluster.until_shares(one=25, other=15)
    one.leave()
    cluster.until_shares(**{"": 20, "other": 20})
    assert cluster.owned_by(other) == {f"feed-{n:03}" for n in range(20, 40)}
