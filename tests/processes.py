"""Processes that tests start: waited for, read and killed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

PATIENCE = 300


def until(happened: Callable[[], object]) -> None:
    """Wait for something that another process or thread does."""
    waiting = threading.Event()
    for _ in range(PATIENCE * 50):
        if happened():
            return
        waiting.wait(0.02)
    pytest.fail("it did not happen")


def read_until(stream: Iterable[str] | None, text: str) -> str:
    """Read the output of a process up to the line with a text; return the line."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"the stream ended without {text!r}")


def is_alive(pid: int) -> bool:
    """Return True until the last thread of a process has ended: its files are closed then."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False


def kill_all(processes: Iterable[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
        process.communicate(timeout=PATIENCE)
