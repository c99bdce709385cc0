"""Children of a killed runner: they end without a word."""

from __future__ import annotations

import sys

import pytest

from tests import forked

DURING_START = """
from multiprocessing import Pipe
from flowstone_core.runtime.isolation.child_process import _serve
ours, theirs = Pipe()
ours.close()
_serve(theirs, 30)
print("ended")
"""
BEFORE_START = """
import os
from multiprocessing import spawn
import flowstone_core.runtime.isolation.fork_server
reading, writing = os.pipe()
os.close(writing)
spawn._main(reading, None)
"""
OTHER = """
import flowstone_core.runtime.isolation.fork_server
raise {error}("something else")
"""


def run(script: str) -> tuple[str, str]:
    command = [sys.executable, "-c", script]
    done = forked.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout, done.stderr


def test_S16_child_whose_parent_died_at_its_start_is_silent() -> None:
    assert run(DURING_START) == ("ended\n", "")


def test_S16_child_whose_parent_died_before_its_start_is_silent() -> None:
    assert run(BEFORE_START) == ("", "")


@pytest.mark.parametrize("error", ["EOFError", "ValueError"])
def test_S16_other_errors_of_the_fork_server_are_shown(error: str) -> None:
    assert f"{error}: something else" in run(OTHER.format(error=error))[1]
