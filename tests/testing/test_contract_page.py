"""The page about the contract: its tests are those that there are, and they say what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from flowstone_core.testing import ConcurrencyReport, SensorContract
from tests import forked

PAGE = Path(__file__, "../../../docs/testing-a-sensor.md").resolve().read_text("utf-8")
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
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.stdout + done.stderr

    return run


def test_the_page_s_sensor_passes_as_it_says(run):
    said = run("test_new_files.py")
    assert SAID[0] in said, said
    assert "failed" not in said


def test_the_page_s_sensor_that_leaves_files_out_passes(run):
    said = run("test_complete_files.py", "-k", "TestCompleteFiles")
    assert "22 passed, 3 skipped" in said, said


def test_the_forgetful_sensor_fails_as_the_page_says(run):
    said = run("test_forgetful.py", "-rs", "-k", "TestForgetful")
    assert "1 failed" in said, said
    assert SAID[1] in said, said
    assert "because test_it_goes_on_after_a_restart does: correct that first" in said


def test_every_test_stands_on_the_page_with_its_own_words():
    tests = [name for name in dir(SensorContract) if name.startswith("test_")]
    rows = dict(re.findall(r"^\| `(test_\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: getattr(SensorContract, name).__doc__.strip() for name in tests}


def test_all_that_an_author_may_say_stands_on_the_page():
    told = re.findall(r"^(?:\| |\* \*\*)`(?!test_)(\w+)", PAGE, re.MULTILINE)
    terms = SensorContract.__mro__[-3]
    public = [name for name in vars(terms) if not name.startswith("_")]
    assert sorted(told) == sorted(public)


OWN_TERMS = """
import test_new_files


class TestMisnamed(test_new_files.TestNewFiles):
    not_applicable = {"test_nothing": "there is no such test"}


class TestOwn(test_new_files.TestNewFiles):
    def change(self, number):
        super().change(number)
        return "something else"

    def test_its_state_is_json(self):
        assert False, "who overrides a test says what is right"
"""


def test_a_name_that_no_test_has_is_not_taken_for_one(run, tmp_path):
    (tmp_path / "test_own_terms.py").write_text(OWN_TERMS)
    said = run("test_own_terms.py", "-k", "TestMisnamed")
    assert "not_applicable names no check of the contract: test_nothing" in said
    assert " passed" not in said


def test_a_test_that_is_overridden_stands_for_itself(run, tmp_path):
    (tmp_path / "test_own_terms.py").write_text(OWN_TERMS)
    said = run("test_own_terms.py", "-k", "TestOwn and (json or change_fires)")
    assert "who overrides a test says what is right" in said
    assert "seen: 'something else' was not found after it was made; the last that it" in said
    assert "2 failed" in said


def test_the_page_s_other_tests_pass(run):
    said = run("test_closes.py", "test_at_once.py")
    assert "2 passed" in said, said


def test_a_report_on_the_page_has_the_lines_of_one():
    (shown,) = [text for text in SAID if text.startswith("operations")]
    names = [line.split()[0] for line in shown.splitlines()]
    report = str(ConcurrencyReport(0, {}, {}, {}, 0, 0, {}, 0, ()))
    assert names == [line.split()[0] for line in report.splitlines()]
