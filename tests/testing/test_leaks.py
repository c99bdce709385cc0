"""What a block leaves behind is found, each kind by its name; and what it takes with it is not."""

from __future__ import annotations

import doctest
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from flowstone_core import Flowstone, Pipeline
from flowstone_core.testing import ScriptedSensor, assert_no_leaks, leaks

SOON = 0.1


def left_by(block) -> str:
    with pytest.raises(AssertionError) as caught, assert_no_leaks(SOON):
        block()
    return str(caught.value)


def dawdle(until: ExitStack) -> None:
    """Start a thread that ends when the test does."""
    let_go = threading.Event()
    thread = threading.Thread(target=let_go.wait, name="forgotten")
    thread.start()
    until.callback(thread.join)
    until.callback(let_go.set)


@pytest.fixture
def until():
    with ExitStack() as until:
        yield until


def test_a_thread_is_named(until):
    assert left_by(lambda: dawdle(until)) == "the block left behind: the thread 'forgotten'"


def test_an_open_file_is_named(until, tmp_path):
    file = tmp_path / "rows.db"
    left = left_by(lambda: until.enter_context(file.open("w")))
    assert left == f"the block left behind: the open file {file}"


def test_a_socket_is_named(until):
    left = left_by(lambda: until.enter_context(socket.create_server(("127.0.0.1", 0))))
    assert re.search(r"the open socket 127\.0\.0\.1:\d+ to nowhere", left)


def test_a_child_process_is_named(until):
    def start():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        until.callback(child.wait)
        until.callback(child.stdin.close)

    assert re.search(r"the child process \d+ \(python", left_by(start))


def test_a_temporary_file_is_named():
    def make():
        handle, _ = tempfile.mkstemp(prefix="download-", suffix=".csv")
        os.close(handle)

    assert re.search(r"behind: the temporary file \S+/download-\w+\.csv$", left_by(make))


def test_everything_is_named_at_once(until, tmp_path):
    def forget():
        dawdle(until)
        until.enter_context((tmp_path / "rows.db").open("w"))
        tempfile.mkdtemp()

    assert re.search(r"'forgotten', the open file .*, the temporary file", left_by(forget))


def test_leak_that_ends_a_moment_later_is_not_reported():
    let_go = threading.Event()
    with assert_no_leaks():
        thread = threading.Thread(target=lambda: let_go.wait(0.2))
        thread.start()


def test_exception_of_the_block_passes():
    def fail():
        tempfile.mkdtemp()
        raise KeyError

    with pytest.raises(KeyError), assert_no_leaks(SOON):
        fail()


def test_temporary_files_are_made_where_they_were_before():
    before, variable = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with assert_no_leaks(), tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent != Path(before)
        assert os.environ["TMPDIR"] == tempfile.gettempdir()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == (before, variable)


@pytest.mark.parametrize("variable", [None, "elsewhere"])
def test_the_environment_is_as_it_was(monkeypatch, tmp_path, variable):
    if variable is None:
        monkeypatch.delenv("TMPDIR", raising=False)
    else:
        monkeypatch.setenv("TMPDIR", str(tmp_path / variable))
    before = dict(os.environ)
    with assert_no_leaks():
        pass
    assert dict(os.environ) == before


def test_a_flowstone_that_was_run_and_closed_leaves_nothing_behind(tmp_path):
    def run():
        pipeline = Pipeline("shop")
        pipeline.asset(name="orders")(lambda context: None)
        pipeline.sensor("feed", ScriptedSensor, asset="orders", script=[OSError("down")])
        pipeline.schedule("orders", cron="* * * * *")
        with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
            flow.materialize("orders", "eu")
            flow.run(once=True)
            assert flow.ticks(source="sensor:feed")

    run()
    with assert_no_leaks():
        run()


MODULE = """
from flowstone_core import Sensor, SensorConfig, Triggered

class Counting(Sensor[SensorConfig, int]):
    def init(self):
        return 0

    def poll(self, state):
        return Triggered(f"n{state}", state + 1)

def make(context):
    return {"made": context.partition}
"""


def test_neither_does_one_with_processes_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "counting_for_leaks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module("counting_for_leaks")

    def run():
        pipeline = Pipeline("shop")
        pipeline.asset(name="made", run_in="process")(module.make)
        pipeline.sensor("counting", module.Counting, asset="made", isolation="process")
        with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
            flow.run(once=True)
            return len(flow.events())

    assert run() == 1
    with assert_no_leaks():
        assert run() == 2


def test_the_example_runs():
    result = doctest.testmod(leaks)
    assert result.attempted > 0
    assert result.failed == 0
