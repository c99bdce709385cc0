"""A process that is killed at every step of a schedule's tick, and the next one that goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store
from tests import forked

PATIENCE = 300

SHOP = """
import os, signal, sys
from datetime import datetime
from flowstone_core import Flowstone, Pipeline
from flowstone_core.store import ScheduleRepository, TickRepository, schedule_records
from flowstone_core.testing import FakeClock

store, now, point, made = sys.argv[1:]
pipeline = Pipeline("shop")

def die(at):
    if at == point:
        os.kill(os.getpid(), signal.SIGKILL)

@pipeline.asset
def report(context):
    die("the asset function began")
    with open(made, "a") as file:
        print(context.partition, context.run_id, file=file)
    die("the asset function ended")

def named(instant):
    die("the partition is named")
    return f"{instant:%H}"

def dying(function, before, after):
    def call(*arguments):
        die(before)
        result = function(*arguments)
        die(after)
        return result
    return call

ScheduleRepository.claim = dying(
    ScheduleRepository.claim, "before it is claimed", "it is claimed"
)
schedule_records.save_checkpoints = dying(
    schedule_records.save_checkpoints, "events are written", "all is written"
)
TickRepository.commit = dying(
    TickRepository.commit, "before the transaction", "it is committed"
)
pipeline.schedule("report", cron="0 * * * *", partition_fn=named, catchup="all")

with Flowstone(pipeline, store=store, clock=FakeClock(datetime.fromisoformat(now))) as flow:
    sys.exit(0 if flow.run(once=True) else 1)
"""

POINTS = [
    "before it is claimed",
    "it is claimed",
    "the partition is named",
    "before the transaction",
    "events are written",
    "all is written",
    "it is committed",
    "the asset function began",
    "the asset function ended",
]


@pytest.mark.parametrize("point", POINTS)
def test_K10_instant_is_one_event_and_is_materialized(
    tmp_path: Path, store_url: str, store: Store, point: str
) -> None:
    script, made = tmp_path / "shop.py", tmp_path / "made.txt"
    script.write_text(SHOP)

    def run(hour: int, point: str = "") -> subprocess.CompletedProcess[str]:
        now = f"2026-01-15T{hour:02}:30:00+00:00"
        command = [sys.executable, script, store_url, now, point, made]
        return forked.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    first = run(1)
    assert first.returncode == 0, first.stderr
    assert run(4, point).returncode == -signal.SIGKILL
    following = run(5)
    assert following.returncode == 0, following.stderr

    events = list(reversed(store.events.latest()))
    assert [event.key for event in events] == [
        f"2026-01-15T{hour:02}:00:00Z" for hour in (2, 3, 4, 5)
    ]
    rows = list(reversed(store.materializations.latest()))
    assert [row.partition for row in rows] == ["02", "03", "04", "05"]
    assert {row.state for row in rows} == {MaterializationState.COMPLETED}
    assert store.skips.latest() == []
    # Made once each, save for what the kill came after: that is made again under its own run_id.
    lines = made.read_text().splitlines()
    assert set(lines) == {f"{row.partition} {row.run_id}" for row in rows}
    assert len(lines) == len(rows) + (point == "the asset function ended")
