"""The page of faults: each is there, and each has a test of its name, or says why it has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {"K": 15, "P": 19, "D": 18, "T": 12, "C": 7}
REPORTED = {
    "F": "1a 1b 2 3 4 5 5b 6 7 8 9 10 13",
    "R": "2 4 5",
    "S": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "G": "3",
    "W": "1 2 3 4 5 6 7 8",
    "U": "1 2 3 4 5 6 7 8",
    "X": "1 2 3 4 5 6 7 8 9 10 11",
    "N": "1 2 3 4 6 7 9 10 11 12 14 15 16 17 18 19 20 21 22",
}
"""The faults that reports found: their numbers have gaps, for some were mended elsewhere."""

ROW = re.compile(r"^\| ([A-Z]\d+[ab]?) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = {row[1]: row for row in ROW.finditer((ROOT / "docs" / "faults.md").read_text())}


def test_every_fault_is_there() -> None:
    expected = [f"{kind}{number}" for kind, last in KINDS.items() for number in range(1, last + 1)]
    expected += [f"{kind}{each}" for kind, all_ in REPORTED.items() for each in all_.split()]
    assert list(ROWS) == expected


@pytest.mark.parametrize("fault", ROWS)
def test_it_is_made_to_happen_where_the_page_says(fault: str) -> None:
    tried = ROWS[fault][4]
    files = re.findall(r"`(tests/[^`]+)`", tried)
    if not files:
        assert tried.startswith("no test: ")
        assert len(tried) > 40
    for file in files:
        named = rf"def test_(?:[A-Z]\d+[ab]?_)*{fault}_"
        assert re.search(named, (ROOT / file).read_text()), f"{file} has no test of {fault}"
