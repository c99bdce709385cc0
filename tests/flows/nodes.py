"""Nodes: runners as real processes on one store, as on several machines, and what each polls.

A node may have another machine's id, so that nobody sees its process, and a wrong clock.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.store import Store
from tests import forked
from tests.processes import PATIENCE, until

NODE = """
import json, sys, threading
from datetime import timedelta
from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.cli.log_output import configure
from flowstone_core.model.clock import StoreClock, SystemClock
from flowstone_core.runtime.coordination import heartbeat, retirement

options = json.loads(sys.argv[1])
book = open(options["book"], "a", buffering=1)
name, clock = options["name"], SystemClock()
machine = f"machine of {name}"
heartbeat.machine_id = retirement.machine_id = lambda: machine

class WrongClock(SystemClock):
    def now(self):
        return super().now() + timedelta(seconds=options["ahead"])

class Feed(Sensor[SensorConfig, object]):
    def init(self):
        return 0
    def poll(self, state):
        print(f"{clock.monotonic()} {self.context.sensor}", file=book)
        return NotTriggered(state)

configure()
pipeline = Pipeline("shop")
@pipeline.asset(name="orders")
def orders(context):
    print(f"{clock.monotonic()} made {context.partition}", file=book)
    while context.partition == "long" and not context.cancelled:
        threading.Event().wait(0.05)
for number in range(*options["sensors"]):
    pipeline.sensor(f"feed-{number:03}", Feed, asset="orders", every=options["every"])
for number in range(options["schedules"]):
    pipeline.schedule("orders", every="1 hour", name=f"hourly-{number}")
settings = {"store": options["store"], "lease": options["lease"], "grace": "0s"}
with Flowstone(pipeline, clock=StoreClock(WrongClock()), **settings) as flow:
    flow.run(**options["run"])
"""


@dataclass
class Node:
    """A runner in a process: its log, and the book of its polls."""

    name: str
    process: subprocess.Popen[str]
    book: Path
    log: Path

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def polls(self) -> list[tuple[float, str]]:
        """Return when it polled which sensor."""
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        return [(float(at), name) for at, name in (line.split(maxsplit=1) for line in lines)]

    def polled(self, after: float = 0.0) -> set[str]:
        return {name for at, name in self.polls() if at > after}


class Cluster:
    """Nodes on one store."""

    def __init__(self, url: str, folder: Path, sensors: int = 30) -> None:
        self.url, self.folder, self.sensors = url, folder, sensors
        self.store = Store.open(url)
        self.nodes: list[Node] = []
        self.defaults: dict[str, object] = {
            "store": url, "lease": "3s", "every": "500ms", "sensors": [0, sensors],
            "schedules": 0, "ahead": 0, "run": {},
        }  # fmt: skip
        (folder / "node.py").write_text(NODE)

    def start(self, name: str, **options: object) -> Node:
        book, log = self.folder / f"{name}.book", self.folder / f"{name}.log"
        given = {**self.defaults, "name": name, "book": str(book), **options}
        with log.open("a") as stream:
            command = [sys.executable, self.folder / "node.py", json.dumps(given)]
            process = forked.Popen(command, stdout=stream, stderr=stream, text=True)
        self.nodes.append(Node(name, process, book, log))
        return self.nodes[-1]

    def shares(self) -> Counter[str]:
        """Return how many sensors each node owns, by its name."""
        hosts = {each.id: each.machine.rsplit(" ", 1)[-1] for each in self.store.runners.all()}
        return Counter(hosts.get(each.owner or "", "") for each in self.store.sensors.all())

    def until_shares(self, **shares: int) -> None:
        until(lambda: self.shares() == shares)

    def until_even(self, *nodes: Node) -> None:
        """Wait until each of the nodes owns its share, and no one else anything."""
        each = self.sensors // len(nodes)
        self.until_shares(**{node.name: each for node in nodes})

    def owned_by(self, node: Node) -> set[str]:
        ids = {each.id for each in self.store.runners.all() if each.machine.endswith(node.name)}
        return {each.name for each in self.store.sensors.all() if each.owner in ids}

    def close(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.send(signal.SIGCONT)
                node.process.kill()
                node.process.wait()
        self.store.close()
