"""Code of users that forks: pools end, and a child never goes on as its parent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.store import Store
from tests import forked

PATIENCE = 120

SHOP = """
import multiprocessing, os, signal, subprocess, sys
from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.testing import FakeClock

store, deed = sys.argv[1:]
pipeline = Pipeline("shop")

def leave(how):
    if how == "raises":
        raise KeyError("token 1234")
    if how == "exits":
        sys.exit(3)
    if how == "is told":
        sys.exit("said in the child")

def forks(how):
    child = os.fork()
    if child == 0:
        leave(how)
        return {"child": True}
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status)}

def square(number):
    return number ** 2

def pools():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return {"sum": sum(pool.map(square, range(4)))}

def terminates():
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status)}

def starts():
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    child.terminate()
    return {"status": child.wait()}

DEEDS = {"pools": pools, "terminates": terminates, "starts": starts}

def made(context):
    return DEEDS[deed]() if deed in DEEDS else forks(deed)

class Feed(Sensor[SensorConfig, object]):
    def init(self):
        return 0
    def poll(self, state):
        print("polled", forks("returns")["status"], flush=True)
        return NotTriggered(state)
    def cleanup(self):
        print("cleaned", forks("raises")["status"], flush=True)

def named(instant):
    print("named", forks("exits")["status"], flush=True)
    return f"{instant:%H}"

run_in = "thread"
if deed.startswith("process "):
    run_in, deed = deed.split()
pipeline.asset(max_attempts=1, run_in=run_in)(made)
if deed == "tick":
    pipeline.sensor("feed", Feed, asset="made", every="1h")
    pipeline.schedule("made", every="1 hour", partition_fn=named)

if __name__ == "__main__":
    clock = FakeClock() if deed == "tick" else None
    with Flowstone(pipeline, store=store, grace="0s", clock=clock) as flow:
        if clock is None:
            flow.materialize("made", "eu")
        else:
            flow.run(once=True)
            clock.advance(3600)
            deed = "returns"
        sys.exit(0 if flow.run(once=True) else 1)
"""


def run(folder: Path, store_url: str, deed: str) -> tuple[str, str]:
    script = folder / "forking.py"
    script.write_text(SHOP)
    command = [sys.executable, script, store_url, deed]
    ended = forked.run(command, timeout=PATIENCE, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("deed", "metadata"),
    [
        ("returns", {"status": 0}),
        ("raises", {"status": 1}),
        ("exits", {"status": 3}),
        ("is told", {"status": 1}),
        ("pools", {"sum": 14}),
        ("terminates", {"status": -15}),
        ("starts", {"status": -15}),
        ("process pools", {"sum": 14}),
        ("process exits", {"status": 3}),
        ("process terminates", {"status": -15}),
        ("process starts", {"status": -15}),
    ],
)
def test_S7_attempt_that_forks_has_one_end(
    tmp_path: Path, store_url: str, store: Store, deed: str, metadata: dict[str, int]
) -> None:
    _, errors = run(tmp_path, store_url, deed)
    (made,) = store.materializations.latest()
    assert (made.state, made.metadata) == (MaterializationState.COMPLETED, metadata)
    attempts = store.materializations.attempts(made.id)
    assert [attempt.outcome for attempt in attempts] == [AttemptOutcome.COMPLETED]
    assert "1234" not in errors
    assert ("KeyError in a forked child process" in errors) is (deed == "raises")


def test_S7_poll_cleanup_and_partition_fn_may_fork(
    tmp_path: Path, store_url: str, store: Store
) -> None:
    said, _ = run(tmp_path, store_url, "tick")
    assert sorted(set(said.splitlines())) == ["cleaned 1", "named 3", "polled 1"]
    assert {tick.error for tick in store.ticks.latest()} == {None}
