"""``flowstone run``, and schedules that are added, edited and paused by command beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forked

PATIENCE = 300
FLOWSTONE = Path(sys.executable).with_name("flowstone")

PIPELINE = """
from flowstone_core import Pipeline
pipeline = Pipeline("shop")

@pipeline.asset
def report(context):
    return {"instant": context.payloads[0]["instant"]}
"""


class Shop:
    """A folder with a configuration, and a runner that runs there."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.folder = folder
        (folder / "shop_of_schedules.py").write_text(PIPELINE)
        (folder / "setup.cfg").write_text(
            f"[flowstone]\nstore = {store_url}\npipelines = shop_of_schedules:pipeline\n"
        )
        self.runner = forked.Popen(
            [FLOWSTONE, "run"], cwd=folder, stderr=subprocess.PIPE, text=True
        )

    def assert_logs(self, *parts: str) -> str:
        """Read the runner's log up to a line that has all the parts."""
        assert self.runner.stderr is not None
        seen = []
        for line in self.runner.stderr:
            seen.append(line)
            if all(part in line for part in parts):
                return line
        raise AssertionError(f"the runner ended: {''.join(seen)}")

    def run(self, *arguments: str) -> str:
        result = forked.run(
            [FLOWSTONE, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, store_url)
    yield shop
    shop.runner.kill()
    shop.runner.communicate(timeout=PATIENCE)


def test_running_runner_applies_schedule_commands(shop: Shop) -> None:
    shop.assert_logs("runner started")
    shop.run("schedules", "add", "report", "--every", "1s", "--partition", "${instant}")
    shop.assert_logs("event=materialization", "state=completed")
    shop.assert_logs("event=materialization", "state=completed")
    shop.run("schedules", "update", "report", "--partition", "edited-${instant}")
    shop.assert_logs("event=materialization", "partition=edited-", "state=completed")
    shop.run("schedules", "pause", "report")
    paused = json.loads(shop.run("schedules", "list", "--json"))
    assert [(row["name"], row["health"], row["origin"]) for row in paused] == [
        ("report", "paused", "command")
    ]
    shop.runner.terminate()
    assert shop.runner.wait(PATIENCE) == 0
    events = json.loads(shop.run("events", "list", "--limit", "1000", "--json"))
    keys = [event["key"] for event in events]
    assert len(keys) == len(set(keys)) >= 3
    assert {event["source"] for event in events} == {"schedule:report"}
    made = json.loads(shop.run("materializations", "list", "--limit", "1000", "--json"))
    assert {row["state"] for row in made} == {"completed"}
    assert {row["metadata"]["instant"] for row in made} == set(keys)
