"""Log writer: no line blocks, none is lost without a word."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstone_core.cli.log_writer import LogWriter

PATIENCE = 60


class Gate(io.StringIO):
    """A stream that takes no line before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self._open = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self._open.wait(PATIENCE)
        return super().write(text)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def test_S14_write_in_the_background_never_blocks(gate: Gate) -> None:
    writer = LogWriter(gate, background=True, waiting_limit=3)
    writer.write("first\n")
    assert gate.reached.wait(PATIENCE)
    for number in range(10):
        writer.write(f"line {number}\n")
    assert not writer.flush(0)
    gate.open()
    assert writer.flush(PATIENCE)
    assert gate.getvalue().splitlines() == [
        "first",
        "flowstone: 7 log lines lost: standard error did not take them",
        "line 0",
        "line 1",
        "line 2",
    ]


def test_write_refused_by_the_stream_is_counted() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "no space left on device")
            return super().write(text)

    stream = Full()
    writer = LogWriter(stream)
    writer.write("one\n")
    writer.write("two\n")
    stream.full = False
    writer.write("three\n")
    assert writer.flush(0)
    assert stream.getvalue().splitlines() == [
        "three",
        "flowstone: 2 log lines lost: standard error did not take them",
    ]


def test_write_to_a_file_keeps_each_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        writer = LogWriter(stream, background=True)
        for number in range(1_000):
            writer.write(f"é{number}\n")
        assert writer.flush(PATIENCE)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [f"\\xe9{number}" for number in range(1_000)]


def test_S7_write_in_a_forked_child_reaches_the_stream(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        writer = LogWriter(stream, background=True)
        writer.write("parent\n")
        assert writer.flush(PATIENCE)
        child = os.fork()
        if child == 0:
            writer.write("child\n")
            os._exit(0 if writer.flush() else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "log").read_text() == "parent\nchild\n"


def test_S5_write_without_a_thread_waits_for_the_next(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refusals = threading.Thread.start, [RuntimeError("can't start new thread")]

    def refuse(thread: threading.Thread) -> None:
        if refusals:
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    gate.open()
    writer = LogWriter(gate, background=True)
    writer.write("one\n")
    assert not writer.flush(0)
    writer.write("two\n")
    assert writer.flush(PATIENCE)
    assert gate.getvalue() == "one\ntwo\n"
