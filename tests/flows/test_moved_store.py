"""A runner killed on SQLite in the middle of its work, which one on PostgreSQL carries on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flowstone_core.errors import ConflictError
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import Store
from tests import forked
from tests.conftest import PostgresqlServer
from tests.processes import kill_all, read_until, until

SHOP = """
import sys, threading
from flowstone_core import Event, Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig, Triggered

store, hangs = sys.argv[1], len(sys.argv) > 2
pipeline = Pipeline("shop")

@pipeline.asset(max_attempts=3)
def orders(context):
    print("begun", context.partition, flush=True)
    if hangs and context.partition == "p3":
        print("half done", flush=True)
        threading.Event().wait()

class Feed(Sensor[SensorConfig, int]):
    def init(self):
        return 0
    def poll(self, state):
        if state == 4:
            return NotTriggered(state)
        return Triggered([Event(f"p{state}")], state + 1)

pipeline.sensor("feed", Feed, asset="orders", every="10ms")
pipeline.schedule("orders", cron="0 0 1 1 *", partition_fn=str)

with Flowstone(pipeline, store=store, grace="0s", lease="2s") as flow:
    flow.run(once=not hangs)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    kill_all(started)


def test_work_of_a_killed_runner_is_carried_on_in_another_database(
    tmp_path: Path, postgresql: PostgresqlServer, started: list[subprocess.Popen[str]]
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    source, target = f"sqlite:///{tmp_path / 'shop.db'}", postgresql.empty_store()

    def run(store: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, tmp_path / "shop.py", store, *arguments]
        pipe = subprocess.PIPE
        started.append(forked.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    def copied() -> bool:
        refused: list[str] = []
        try:
            Store.copy(source, target, SystemClock().now(), lambda _: None)
        except ConflictError as error:
            refused.append(str(error))
        assert all("a runner uses the store" in each for each in refused)
        return not refused

    killed = run(source, "hangs")
    read_until(killed.stdout, "half done")
    assert not copied()
    killed.send_signal(signal.SIGKILL)
    killed.wait(300)
    until(copied)  # once its lease has ended
    with closing(Store.open(target)) as store:
        (running,) = store.materializations.latest(state=MaterializationState.RUNNING)
    said, _ = run(target).communicate(timeout=300)
    assert "begun p3" in said
    with closing(Store.open(target)) as store:
        made = store.materializations.latest()
        assert [each.partition for each in made] == ["p3", "p2", "p1", "p0"]
        assert {each.state for each in made} == {MaterializationState.COMPLETED}
        assert len(store.events.latest()) == 4
        assert store.schedules.all()[0].checkpoint.version == 0
        attempts = store.materializations.attempts(running.id)
    assert [each.outcome for each in attempts] == [AttemptOutcome.LOST, AttemptOutcome.COMPLETED]
