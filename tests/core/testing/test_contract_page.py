"""The page about the contract: its tests are those that there are, and they say what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowstone_core.testing import SensorContract

PAGE = Path(__file__, "../../../../docs/testing-a-sensor.md").resolve().read_text("utf-8")
FILES = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SAID = [text.strip() for language, text in BLOCKS if not language]


@pytest.fixture
def run(tmp_path):
    """Run pytest on the page's files; returns what it said."""
    for name, text in FILES:
        (tmp_path / name).write_text(text, "utf-8")

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
        )
        return done.stdout + done.stderr

    return run


def test_the_page_s_sensor_passes_as_it_says(run):
    said = run("test_new_files.py")
    assert SAID[0] in said, said
    assert "failed" not in said


def test_the_forgetful_sensor_fails_as_the_page_says(run):
    said = run("test_forgetful.py", "-rs", "-k", "TestForgetful")
    assert "1 failed" in said, said
    assert SAID[1] in said, said
    assert "because test_it_goes_on_after_a_restart does: mend that first" in said


def test_every_test_stands_on_the_page_with_its_own_words():
    tests = [name for name in dir(SensorContract) if name.startswith("test_")]
    rows = dict(re.findall(r"^\| `(test_\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: getattr(SensorContract, name).__doc__.strip() for name in tests}


def test_all_that_an_author_may_say_stands_on_the_page():
    told = re.findall(r"^(?:\| |\* \*\*)`(?!test_)(\w+)", PAGE, re.MULTILINE)
    terms = SensorContract.__mro__[-3]
    public = [name for name in vars(terms) if not name.startswith("_")]
    assert sorted(told) == sorted(public)
