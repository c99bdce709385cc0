"""A process that ends in the middle of an asset function, and the next one that makes it again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import Store
from tests import forked
from tests.processes import kill_all

PATIENCE = 300

SHOP = """
import sys, threading
from pathlib import Path
from flowstone_core import Flowstone, Pipeline

store, started, wanted = sys.argv[1:]
pipeline = Pipeline("shop")

@pipeline.asset(max_attempts=2)
def raw_orders(context):
    with Path(started).open("a") as file:
        print(context.run_id, context.attempt, context.payloads, file=file)
    if context.attempt == 1:
        print("half done", flush=True)
        threading.Event().wait()
    return {"rows": 3}

@pipeline.asset(depends_on=["raw_orders"], follow=True)
def daily_report(context):
    return {"rows": context.upstream["raw_orders"]["rows"]}

with Flowstone(pipeline, store=store, grace="0s") as flow:
    if wanted:
        flow.materialize("raw_orders", wanted, payload={"file": "a.csv"})
    sys.exit(0 if flow.run(once=True) else 1)
"""


class Shop:
    """Starts runners on one store, each in a process of its own."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.script = folder / "shop.py"
        self.script.write_text(SHOP)
        self.started = folder / "started.txt"
        self.store_url = store_url
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, wanted: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, self.script, self.store_url, self.started, wanted]
        process = forked.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, store_url)
    yield shop
    kill_all(shop.processes)


def test_K8_work_of_a_killed_process_is_completed_by_the_next(shop: Shop, store: Store) -> None:
    killed = shop.run("eu")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half done\n"
    (running,) = store.materializations.latest()
    assert running.state is MaterializationState.RUNNING
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(PATIENCE) == -signal.SIGKILL

    following = shop.run()
    _, errors = following.communicate(timeout=PATIENCE)
    assert following.returncode == 0, errors

    report, made = store.materializations.latest()
    assert (made.id, made.run_id, made.metadata) == (running.id, running.run_id, {"rows": 3})
    assert made.state is MaterializationState.COMPLETED
    assert made.error is None
    attempts = store.materializations.attempts(made.id)
    assert [attempt.outcome for attempt in attempts] == [
        AttemptOutcome.LOST,
        AttemptOutcome.COMPLETED,
    ]
    assert f"(pid {killed.pid}) stopped or died" in (attempts[0].error or "")
    assert shop.started.read_text().splitlines() == [
        f"{made.run_id} {attempt} ({{'file': 'a.csv'}},)" for attempt in (1, 2)
    ]
    assert (report.asset, report.state, report.metadata) == (
        "daily_report",
        MaterializationState.COMPLETED,
        {"rows": 3},
    )


def test_hanging_function_does_not_block_the_stop(shop: Shop, store: Store) -> None:
    stopped = shop.run("eu")
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == "half done\n"
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(PATIENCE) == 1
    (given_back,) = store.materializations.latest()
    assert given_back.state is MaterializationState.RETRYING

    following = shop.run()
    assert following.wait(PATIENCE) == 0
    attempts = store.materializations.attempts(given_back.id)
    assert [attempt.outcome for attempt in attempts] == [
        AttemptOutcome.RELEASED,
        AttemptOutcome.COMPLETED,
    ]
