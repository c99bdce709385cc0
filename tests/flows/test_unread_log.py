"""A runner whose standard error is a pipe that nobody reads: it works on, and ends on request."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstone_core.store import Store
from tests import forked

PATIENCE = 120
F_SETPIPE_SZ = 1031

PIPELINE = """
import threading
from flowstone_core import Pipeline, Sensor, SensorConfig, Triggered

pipeline = Pipeline("shop")

@pipeline.asset
def orders(context):
    print("made", context.partition, flush=True)

@pipeline.asset
def hanging(context):
    print("hangs", flush=True)
    threading.Event().wait()

class Feed(Sensor[SensorConfig, int]):
    def init(self):
        return 0
    def poll(self, state):
        return Triggered([f"{state}-{number}" for number in range(50)], state + 1)

pipeline.sensor("feed", Feed, asset="orders", every="1s")
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "shop.py").write_text(PIPELINE)
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    (tmp_path / "setup.cfg").write_text(
        f"[flowstone]\nstore = {store}\npipelines = shop:pipeline\ngrace = 1m\n"
    )
    command = [sys.executable, "-m", "flowstone_core", "run"]
    pipe = subprocess.PIPE
    env = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    process = forked.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=env)
    assert process.stderr is not None
    fcntl.fcntl(process.stderr, F_SETPIPE_SZ, 4096)
    yield process
    process.kill()
    process.communicate(timeout=PATIENCE)


def read(process: subprocess.Popen[str], word: str, count: int) -> None:
    assert process.stdout is not None
    lines = (line for line in process.stdout if line.startswith(word))
    assert len([line for _, line in zip(range(count), lines, strict=False)]) == count


def test_S14_runner_works_on_and_ends_on_request(
    runner: subprocess.Popen[str], tmp_path: Path
) -> None:
    read(runner, "made", 200)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(PATIENCE) == 0
    store = Store.open(f"sqlite:///{tmp_path / 'shop.db'}")
    assert store.runners.all()[0].stopped_at is not None
    store.close()


def test_S14_second_signal_ends_the_runner(runner: subprocess.Popen[str], tmp_path: Path) -> None:
    read(runner, "made", 100)
    command = [sys.executable, "-m", "flowstone_core", "materialize", "hanging", "eu"]
    env = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    forked.run(command, timeout=PATIENCE, check=True, cwd=tmp_path, env=env)
    read(runner, "hangs", 1)
    runner.send_signal(signal.SIGTERM)
    while runner.poll() is None:
        runner.send_signal(signal.SIGTERM)
    assert runner.returncode == 128 + signal.SIGTERM
