"""What tests of the command line share: a folder with a configuration, and a way to run commands.

Most commands are run in this process, by click's own runner; where the process itself matters
(what is imported, signals, pipes), a real one is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowstone_core import Flowstone
from flowstone_core.cli import main
from flowstone_core.testing import FakeClock
from tests import forked

PIPELINE = '''
from datetime import date

from flowstone_core import Discard, Event, Pipeline, RetryLater, SensorBroken, Triggered
from flowstone_core.testing import Script, ScriptedSensor

pipeline = Pipeline("shop")

@pipeline.asset
def raw_orders(context):
    """Load the orders of one day.

    And more.
    """
    return {"rows": len(context.payloads)}

@pipeline.asset(depends_on=["raw_orders"], follow=True)
def daily_report(context):
    return {"made": True}
'''
FEED = """
pipeline.sensor(
    "feed", ScriptedSensor, asset="raw_orders", every="1s",
    script=Script([Triggered([
        Event(date(2025, 1, 13), key="monday", payload={"file": "a.csv"}),
        Event("north\\x1b[31m\\u202e", key="line\\nbreak"),
    ], {"seen": 2})]),
)
"""


SCHEDULES = """
pipeline.schedule("raw_orders", every="15 minutes", overlap="allow")

def boom(at):
    raise ValueError("no such day")

def give_up(context):
    raise Discard("the till is locked")
pipeline.asset(name="till")(give_up)
"""
SECTIONS = """
[flowstone:schedule:nightly]
asset = daily_report
cron = 30 2 * * *
timezone = America/New_York
jitter = 90s
"""


@dataclass
class Shop:
    """A folder with a setup.cfg and a pipeline, and the commands that are run in it."""

    folder: Path
    module: str

    def write(self, pipeline: str = PIPELINE + FEED, settings: str = "") -> None:
        """Write the pipeline, and the settings behind those of the [flowstone] section."""
        (self.folder / f"{self.module}.py").write_text(pipeline, "utf-8")
        text = f"[flowstone]\npipelines = {self.module}:pipeline\n{settings}"
        (self.folder / "setup.cfg").write_text(text, "utf-8")

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Run a command, in this process; a traceback is no answer."""
        result = CliRunner().invoke(main, arguments)
        said = f"{result.stdout}\n{result.stderr}"
        assert "Traceback" not in said, said
        assert result.exit_code == code, said
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json, and read what it prints."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def lines(self, *arguments: str) -> list[list[str]]:
        """Run a listing for people; return its rows, the headings first, split into cells."""
        text = self.run(*arguments).stdout
        return [re.split(r" {2,}", line) for line in text.splitlines()]

    def schedule(self, name: str) -> Any:
        """Return the row of one schedule in ``schedules list``."""
        (found,) = (row for row in self.json("schedules", "list") if row["name"] == name)
        return found

    def declare(self, settings: str) -> None:
        """Replace the declarations in setup.cfg."""
        (self.folder / "setup.cfg").write_text(
            f"[flowstone]\npipelines = {self.module}:pipeline\n{settings}"
        )

    def process(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        environ = os.environ | options.pop("environ", {})
        command = [sys.executable, "-m", "flowstone_core", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return forked.Popen(command, cwd=self.folder, env=environ, **pipes)

    def install(self, distribution: str, plugin: str, source: str) -> None:
        """Leave in the folder what an installer leaves of a distribution with one plugin."""
        module = f"{plugin}_{self.module}"
        (self.folder / f"{module}.py").write_text("FLOWSTONE_API = 1\n" + source, "utf-8")
        info = self.folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[flowstone]\n{plugin} = {module}\n")


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A folder with nothing in it, which is the current one and first on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # A name of its own: this process imports the pipelines of many tests.
    return Shop(tmp_path, f"pipeline_{uuid.uuid4().hex}")


@pytest.fixture
def shop(empty_folder: Shop) -> Shop:
    """The folder with a pipeline of two assets, and a sensor that finds two partitions once."""
    empty_folder.write()
    return empty_folder


@pytest.fixture
def made(shop: Shop) -> Shop:
    """The shop after one run: four materializations, all completed."""
    shop.run("run", "--once")
    return shop


@pytest.fixture
def documented() -> Callable[..., set[str]]:
    """A function that returns the fields of the objects that a command's help says JSON has."""

    def read(*command: str) -> set[str]:
        text = " ".join(CliRunner().invoke(main, [*command, "--help"]).stdout.split())
        names = re.search(r"With --json a list of objects: (.*?)\. ?(?:The|Options|$)", text)
        assert names is not None, text
        return set(re.sub(r" \([^)]*\)", "", names[1]).split(", "))

    return read


@pytest.fixture
def timed(shop):
    """The shop with a schedule in its pipeline, and one in its setup.cfg."""
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + SCHEDULES, settings=SECTIONS)
    return shop


@pytest.fixture
def clock():
    return FakeClock(datetime(2026, 1, 15, 12, 30, tzinfo=UTC))


@pytest.fixture
def runs(clock):
    """A function that lets time pass, and then has a runner do what there is to do, once."""

    def run(shop, hours=0.0):
        clock.advance(timedelta(hours=hours))
        with Flowstone(config=shop.folder / "setup.cfg", clock=clock) as flow:
            flow.run(once=True)

    return run
