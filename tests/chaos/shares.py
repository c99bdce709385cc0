"""Measure how fast runners share, take over and give up: 300 sensors, the default lease.

``python -m tests.chaos.shares`` prints the figures of docs/guarantees.md. Each runner is a process
that no other sees, as if it ran on another machine; the store is a separate PostgreSQL.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from flowstone_core.model.clock import SystemClock
from flowstone_core.store import Store
from tests.conftest import PostgresqlServer
from tests.flows.nodes import Cluster, Node
from tests.flows.proxy import Pooler
from tests.processes import until

SENSORS = 300
CLOCK = SystemClock()


def seconds_until(happened: Callable[[], object], since: float | None = None) -> float:
    since = CLOCK.monotonic() if since is None else since
    until(happened)
    return CLOCK.monotonic() - since


def even(cluster: Cluster, *nodes: Node) -> Callable[[], bool]:
    share = {node.name: SENSORS // len(nodes) for node in nodes}
    return lambda: cluster.shares() == share


def registered(cluster: Cluster, name: str) -> Callable[[], bool]:
    return lambda: any(each.machine.endswith(name) for each in cluster.store.runners.all())


def measure(cluster: Cluster, pooled: str) -> None:
    def show(what: str, seconds: float) -> None:
        print(f"| {what} | {seconds:.1f} s |", flush=True)

    def join(name: str, *others: Node, **options: object) -> tuple[Node, float]:
        node = cluster.start(name, **options)
        until(registered(cluster, name))
        return node, seconds_until(even(cluster, *others, node))

    first, _ = join("first")
    second, seconds = join("second", first)
    show("a second runner joins: even after", seconds)
    third, seconds = join("third", first, second)
    show("a third runner joins: even after", seconds)

    began_at = CLOCK.monotonic()
    second.kill()
    show("kill -9: its share divided after", seconds_until(even(cluster, first, third), began_at))
    behind, _ = join("behind", first, third, store=pooled)
    began_at = CLOCK.monotonic()
    behind.kill()
    seconds = seconds_until(even(cluster, first, third), began_at)
    show("kill -9 behind a pooler: its share divided after", seconds)

    began_at = CLOCK.monotonic()
    third.send(signal.SIGSTOP)
    show("SIGSTOP: its share taken over after", seconds_until(even(cluster, first), began_at))
    before = {each.name for each in cluster.store.sensors.all()}
    until(lambda: first.polled(CLOCK.monotonic() - 6) == before)
    woken_at = CLOCK.monotonic()
    third.send(signal.SIGCONT)
    seconds = seconds_until(even(cluster, first, third), woken_at)
    show("SIGCONT: even again after", seconds)
    mine = cluster.owned_by(third)
    doubled = [name for at, name in third.polls() if at > woken_at and name not in mine]
    print(f"| polls of the woken runner beside the new owner | {len(doubled)} |")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="flowstone-shares-"))
    folder.chmod(0o711)
    server = PostgresqlServer(folder / "pg")
    server.execute("CREATE DATABASE shares")
    url = server.url("shares")
    Store.upgrade(url)
    cluster, pooler = Cluster(url, folder, SENSORS), Pooler(url)
    cluster.defaults |= {"lease": "15s", "every": "5s"}
    try:
        measure(cluster, pooler.url)
    finally:
        cluster.close()
        pooler.close()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
