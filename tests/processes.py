"""Processes that tests start: waited for, read and killed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable

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


def kill_all(processes: Iterable[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
        process.communicate(timeout=PATIENCE)
