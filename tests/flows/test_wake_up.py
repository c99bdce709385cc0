"""Wake-ups between processes: a runner that looks once an hour begins what commands commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowstone_core.store import Store
from tests import forked
from tests.processes import PATIENCE, kill_all, read_until, until
from tests.store.conftest import END_LISTENERS

FLOWSTONE = Path(sys.executable).with_name("flowstone")

PIPELINE = """
from flowstone_core import Pipeline
pipeline = Pipeline("shop")

@pipeline.asset(max_attempts=1)
def report(context):
    if str(context.partition) == "bad" and context.attempt == 1:
        raise ValueError("no luck")
"""

# Only a wake-up makes this runner look before the test is out of patience.
RUN = """
import sys
from flowstone_core.cli import main
from flowstone_core.runtime.coordination import reconciler
from flowstone_core.runtime.engine import local_engine
assert local_engine.CLAIM_SECONDS == reconciler.RECONCILE_SECONDS == 1.0
local_engine.CLAIM_SECONDS = reconciler.RECONCILE_SECONDS = 3600.0
sys.argv = ["flowstone", "run"]
main()
"""


class Shop:
    """A folder with a configuration, and a runner there that hardly ever looks."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.folder = folder
        (folder / "shop_of_wake_ups.py").write_text(PIPELINE)
        (folder / "setup.cfg").write_text(
            f"[flowstone]\nstore = {store_url}\npipelines = shop_of_wake_ups:pipeline\n"
        )
        self.runner = forked.Popen(
            [sys.executable, "-c", RUN], cwd=folder, stderr=subprocess.PIPE, text=True
        )
        read_until(self.runner.stderr, "runner started")

    def command(self, *arguments: str) -> None:
        forked.run([FLOWSTONE, *arguments], cwd=self.folder, timeout=PATIENCE, check=True)

    def assert_logs(self, *parts: str) -> None:
        line = ""
        while not all(part in line for part in parts):
            line = read_until(self.runner.stderr, parts[0])


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, store_url)
    yield shop
    kill_all([shop.runner])


def test_idle_runner_begins_what_commands_request(shop: Shop) -> None:
    shop.command("materialize", "report", "--partition", "good")
    shop.assert_logs("state=completed", "partition=good")
    shop.command("materialize", "report", "--partition", "bad")
    shop.assert_logs("state=discarded", "partition=bad")
    shop.command("materializations", "retry", "2")
    shop.assert_logs("state=completed", "partition=bad")


def test_idle_runner_takes_over_a_new_schedule(shop: Shop) -> None:
    shop.command("schedules", "add", "report", "--every", "1s", "--partition", "${instant}")
    shop.assert_logs("event=materialization", "state=completed")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_runner_listens_again_after_its_connection_ended(shop: Shop, store_url: str) -> None:
    def terminated() -> bool:
        with psycopg.connect(store_url, autocommit=True) as other:
            return other.execute(END_LISTENERS).fetchone() == (1,)

    until(terminated)
    shop.assert_logs("listening for commits of other processes again")
    shop.command("materialize", "report", "--partition", "good")
    shop.assert_logs("state=completed", "partition=good")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_runner_and_its_wake_up_end_with_a_deleted_store(shop: Shop, tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path / 'flowstone.db'}").close()
    for path in tmp_path.glob("flowstone.db*"):
        path.unlink()
    assert shop.runner.wait(PATIENCE) == 1
