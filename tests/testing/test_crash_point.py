"""A crash point kills the process that is told to die there, and no other."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
from flowstone_core.testing import CrashPoint

class Uploads:
    def upload(self, text):
        print(text, flush=True)
        return text

CrashPoint("before").before(Uploads, "upload")
CrashPoint("after").after(Uploads, "upload")
here = CrashPoint("here")
for text in ("one", "two", "three"):
    assert Uploads().upload(text) == text
    here.reach()
"""


@pytest.mark.parametrize(
    ("crash_at", "printed", "code"),
    [
        ("", ["one", "two", "three"], 0),
        ("elsewhere", ["one", "two", "three"], 0),
        ("before", [], -signal.SIGKILL),
        ("before*3", ["one", "two"], -signal.SIGKILL),
        ("after", ["one"], -signal.SIGKILL),
        ("here*2", ["one", "two"], -signal.SIGKILL),
        ("here*4", ["one", "two", "three"], 0),
    ],
)
def test_a_process_dies_where_it_is_told_to(crash_at, printed, code):
    environ = os.environ | {"FLOWSTONE_CRASH_AT": crash_at}
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    assert (ended.stdout.split(), ended.returncode) == (printed, code)
