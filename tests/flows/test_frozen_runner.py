"""A runner that was stopped beyond its lease, and goes on beside the one that took over."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstone_core.store import Store
from tests import forked
from tests.processes import read_until

PATIENCE = 120

SHOP = """
import os, sys
from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.cli.log_output import configure

store, polls = sys.argv[1:]
configure()
pipeline = Pipeline("shop")
pipeline.asset(name="orders")(lambda context: None)
pipeline.schedule("orders", every="1 hour")

class Feed(Sensor[SensorConfig, object]):
    def init(self):
        return 0
    def poll(self, state):
        with open(polls, "a") as file:
            print("polled", file=file)
        print("polled", flush=True)
        return NotTriggered(state)

for name in ("first", "second"):
    pipeline.sensor(name, Feed, asset="orders", every="1s")

with Flowstone(pipeline, store=store, lease="1s", grace="0s") as flow:
    flow.run()
"""


@pytest.fixture
def start(tmp_path: Path, store_url: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(polls: str) -> subprocess.Popen[str]:
        command = [sys.executable, tmp_path / "shop.py", store_url, tmp_path / polls]
        pipe = subprocess.PIPE
        started.append(forked.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate(timeout=PATIENCE)


def test_R2_D9_frozen_runner_gives_up_work_taken_over_by_another(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path, store: Store
) -> None:
    frozen = start("frozen")
    for _ in range(3):
        read_until(frozen.stdout, "polled")
    frozen.send_signal(signal.SIGSTOP)
    following = start("following")
    for _ in range(3):
        read_until(following.stdout, "polled")
    owners = {record.owner for record in [*store.sensors.all(), *store.schedules.all()]}
    assert len(owners) == 1

    frozen.send_signal(signal.SIGCONT)
    line = read_until(frozen.stderr, "taken over by another runner")
    told = {line.split("kind=")[1].split()[0]: line}
    line = read_until(frozen.stderr, "taken over by another runner")
    told[line.split("kind=")[1].split()[0]] = line
    assert 'count=2 examples="first, second"' in told["sensor"]
    assert "count=1 examples=orders" in told["schedule"]
    read_until(following.stdout, "polled")  # a poll of the frozen one that had begun has ended
    count = len((tmp_path / "frozen").read_text().splitlines())
    for _ in range(6):
        read_until(following.stdout, "polled")
    assert len((tmp_path / "frozen").read_text().splitlines()) == count
    still = {record.owner for record in [*store.sensors.all(), *store.schedules.all()]}
    assert still == owners
