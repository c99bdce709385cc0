"""Processes that carry a backfill and are interrupted, or killed, and those that go on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import Store
from tests import forked
from tests.processes import kill_all, read_until

PATIENCE = 300
DAYS = [f"2025-01-{day:02}" for day in range(1, 13)]
MIDDLE = "2025-01-06"

SHOP = """
import os, sys, threading
from pathlib import Path
from flowstone_core import Pipeline

pipeline = Pipeline("shop")

@pipeline.asset
def report(context):
    day = str(context.partition)
    if day == os.environ.get("STOP_AT"):
        print("half way", flush=True)
        if not sys.stdin.readline():
            threading.Event().wait()
    with Path("made.txt").open("a") as file:
        print(day, file=file)
"""


class Shop:
    """A folder, and commands that run in it, each in a process of its own."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.folder = folder
        self.store_url = store_url
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "shop.py").write_text(SHOP)
        self.configure()

    def configure(self, grace: str = "1m") -> None:
        text = (
            f"[flowstone]\npipelines = shop:pipeline\nstore = {self.store_url}\ngrace = {grace}\n"
        )
        (self.folder / "setup.cfg").write_text(text)

    def backfill(self, *options: str, stop_at: str = "") -> subprocess.Popen[str]:
        arguments = ["backfill", "report", "--from", DAYS[0], "--to", DAYS[-1], *options]
        process = forked.Popen(
            [sys.executable, "-m", "flowstone_core", *arguments],
            cwd=self.folder,
            env=os.environ | {"STOP_AT": stop_at},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def made(self) -> list[str]:
        return (self.folder / "made.txt").read_text().splitlines()


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, store_url)
    yield shop
    kill_all(shop.processes)


def go_on(process: subprocess.Popen[str]) -> None:
    """Let the asset function go on that has stopped half way."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str], code: int = 0) -> str:
    said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return said + errors


def asked(store: Store) -> Counter[str]:
    return Counter(event.partition for event in store.events.latest(limit=1_000))


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
def test_killed_backfill_is_completed_once_by_the_same_command(
    shop: Shop, store: Store, force: list[str]
) -> None:
    killed = shop.backfill("--limit", "1", *force, stop_at=MIDDLE)
    read_until(killed.stdout, "half way")
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(PATIENCE) == -signal.SIGKILL
    assert shop.made() == DAYS[:5]

    said = end(shop.backfill(*force))
    assert "resuming backfill 1 of report: 12 partitions" in said
    assert "backfill 1 is finished: 12 completed, 0 skipped, 0 failed" in said
    assert sorted(shop.made()) == DAYS
    assert asked(store) == Counter(f"d:{day}" for day in DAYS)
    assert len(store.materializations.latest()) == 12
    (middle,) = store.materializations.latest(partition=f"d:{MIDDLE}")
    outcomes = [attempt.outcome for attempt in store.materializations.attempts(middle.id)]
    assert outcomes == [AttemptOutcome.LOST, AttemptOutcome.COMPLETED]

    # Finished, it is made once more by force alone.
    said = end(shop.backfill(*force))
    assert "backfill 2 of report" in said
    assert Counter(Counter(shop.made()).values()) == {2 if force else 1: 12}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_backfill_ends_running_work_and_can_continue(
    shop: Shop, store: Store, number: signal.Signals
) -> None:
    interrupted = shop.backfill("--force", "--limit", "1", stop_at=MIDDLE)
    read_until(interrupted.stdout, "half way")
    interrupted.send_signal(number)
    read_until(interrupted.stderr, "stopping; a second signal stops at once")
    go_on(interrupted)
    said = end(interrupted, code=1)
    assert "backfill 1 is not finished: 6 of 12 done; repeat the command" in said
    assert shop.made() == DAYS[:6]
    assert not store.runners.all(alive_at=store.materializations.latest()[0].requested_at)

    assert "resuming backfill 1" in end(shop.backfill("--force"))
    assert sorted(shop.made()) == DAYS
    assert {item.attempt for item in store.materializations.latest()} == {1}


def test_attempt_beyond_the_grace_time_is_released(shop: Shop, store: Store) -> None:
    shop.configure(grace="0s")
    interrupted = shop.backfill("--limit", "1", stop_at=MIDDLE)
    read_until(interrupted.stdout, "half way")
    interrupted.send_signal(signal.SIGTERM)
    said = end(interrupted, code=1)
    assert "not everything ended within the grace time" in said
    assert "5 of 12 done, 1 unfinished" in said
    assert store.materializations.latest()[0].state is MaterializationState.RETRYING
    end(shop.backfill())
    assert sorted(shop.made()) == DAYS


def test_K12_second_signal_ends_the_backfill_at_once(shop: Shop) -> None:
    interrupted = shop.backfill(stop_at=MIDDLE)
    read_until(interrupted.stdout, "half way")
    interrupted.send_signal(signal.SIGINT)
    read_until(interrupted.stderr, "stopping; a second signal stops at once")
    interrupted.send_signal(signal.SIGINT)
    assert "stopped at once by a second signal" in end(interrupted, code=128 + signal.SIGINT)


def test_two_commands_at_once_are_one_backfill(shop: Shop, store: Store) -> None:
    first = shop.backfill("--force", "--limit", "1", stop_at=DAYS[0])
    read_until(first.stdout, "half way")
    second = shop.backfill("--force", "--limit", "1")
    read_until(second.stdout, "resuming backfill 1 of report")
    go_on(first)
    # The first one makes what either asks for.
    assert "this command runs the materializations" not in end(second) + end(first)
    assert sorted(shop.made()) == DAYS
    assert asked(store) == Counter(f"d:{day}" for day in DAYS)


def test_second_command_continues_when_the_first_is_killed(shop: Shop, store: Store) -> None:
    first = shop.backfill("--force", "--limit", "1", stop_at=MIDDLE)
    read_until(first.stdout, "half way")
    second = shop.backfill("--force")
    read_until(second.stdout, "5 of 12 done")
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    said = end(second)
    assert "no runner is alive: this command runs the materializations" in said
    assert "backfill 1 is finished: 12 completed" in said
    assert sorted(shop.made()) == DAYS
    assert asked(store) == Counter(f"d:{day}" for day in DAYS)
