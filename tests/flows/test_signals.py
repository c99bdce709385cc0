"""Signals to a runner: a closed terminal, one that nohup detached, and repeated signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store
from tests import forked
from tests.processes import kill_all, read_until

PATIENCE = 120

SHOP = """
import os, signal, sys
from flowstone_core import Flowstone, Pipeline
from flowstone_core.cli.log_output import configure

store, fifo, mode = sys.argv[1:]
configure()
if mode == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
pipeline = Pipeline("shop")

@pipeline.asset(run_in="process" if mode == "process" else "thread")
def orders(context):
    print("begun", os.getpid(), flush=True)
    with open(fifo) as gate:
        return {"told": gate.read()}

if __name__ == "__main__":
    with Flowstone(pipeline, store=store, grace="60s") as flow:
        flow.materialize("orders", "eu")
        sys.exit(0 if flow.run() else 1)
"""


class Shop:
    def __init__(self, folder: Path, store_url: str) -> None:
        (folder / "shop.py").write_text(SHOP)
        self.script, self.fifo, self.store_url = folder / "shop.py", folder / "gate", store_url
        self.processes: list[subprocess.Popen[str]] = []
        os.mkfifo(self.fifo)

    def run(self, mode: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, self.script, self.store_url, self.fifo, mode]
        pipe = subprocess.PIPE
        self.processes.append(forked.Popen(command, stdout=pipe, stderr=pipe, text=True))
        running = self.processes[-1]
        return running, int(read_until(running.stdout, "begun").split()[1])


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, store_url)
    yield shop
    kill_all(shop.processes)


def end(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=PATIENCE)
    return errors


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_N4_closed_terminal_stops_gracefully_with_a_message(
    shop: Shop, store: Store, mode: str
) -> None:
    running, child = shop.run(mode)
    running.send_signal(signal.SIGHUP)
    read_until(running.stderr, "stopping because of SIGHUP; a second signal stops at once")
    read_until(running.stderr, "signal=SIGHUP")
    running.send_signal(signal.SIGHUP)  # a terminal that is closed sends several
    if child != running.pid:
        os.kill(child, signal.SIGHUP)
    shop.fifo.write_text("all")
    assert "runner stopped" in end(running)
    assert running.returncode == 0
    (made,) = store.materializations.latest()
    assert (made.state, made.attempt) == (MaterializationState.COMPLETED, 1)
    assert made.metadata == {"told": "all"}


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_N4_second_signal_after_a_hangup_stops_at_once(shop: Shop, second: signal.Signals) -> None:
    running, _ = shop.run("thread")
    running.send_signal(signal.SIGHUP)
    read_until(running.stderr, "stopping")
    running.send_signal(second)
    assert "stopped at once by a second signal" in end(running)
    assert running.returncode == 128 + second


def test_N4_hangup_that_nohup_ignores_stays_ignored(shop: Shop, store: Store) -> None:
    running, _ = shop.run("nohup")
    running.send_signal(signal.SIGHUP)
    shop.fifo.write_text("all")
    read_until(running.stderr, "state=completed")
    running.send_signal(signal.SIGTERM)
    errors = end(running)
    assert running.returncode == 0
    assert "SIGHUP" not in errors
    assert "signal=SIGTERM" in errors
