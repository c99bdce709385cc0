"""Tables for people and JSON for programs."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest

from flowstone_core.cli.listing import (
    CELL_LIMIT,
    partition_fields,
    print_facts,
    print_json,
    print_listing,
    print_table,
)

COLUMNS = {"name": "NAME", "said": "SAID"}


class Colour(StrEnum):
    RED = "red"


def table(capsys, *said, **options):
    print_table([{"name": "n", "said": each} for each in said], COLUMNS, empty="none", **options)
    return capsys.readouterr().out.splitlines()


def test_columns_are_as_wide_as_their_cells(capsys):
    rows = [{"name": "a", "said": "x" * 90}, {"name": "日本", "said": "y"}, {"name": "abc"}]
    print_table(rows, COLUMNS, empty="none")
    assert capsys.readouterr().out.splitlines() == [
        "NAME  SAID",
        "a     " + "x" * 90,
        "日本  y",
        "abc",
    ]


def test_empty_listing_is_a_message_or_an_empty_list(capsys):
    print_listing([], COLUMNS, as_json=False, empty="no colours")
    print_listing([], COLUMNS, as_json=True, empty="no colours")
    assert capsys.readouterr().out == "no colours\n[]\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (0.4249, "0.42s"),
        (3725.4, "1h2m5s"),
        (timedelta(minutes=90), "1h30m"),
        (datetime(2025, 1, 15, 2, 3, 4, 567, UTC), "2025-01-15 02:03:04Z"),
        (Colour.RED, "red"),
        (("a", "b"), "a, b"),
        ({"a": "ü"}, '{"a": "ü"}'),
        ("two  blanks", "two  blanks"),
        ("a line\nand\tanother", "a line and another"),
        ("\x1b[31mred\x1b[0m \x00 \u202e", "red \\x00 \\u202e"),
        ("x" * CELL_LIMIT, "x" * CELL_LIMIT),
        ("x" * (CELL_LIMIT + 1), "x" * (CELL_LIMIT - 1) + "…"),
    ],
)
def test_cell_is_one_line_safe_for_a_terminal(capsys, value, shown):
    assert table(capsys, value) == ["NAME  SAID", f"n     {shown}".rstrip()]


def test_cell_limit_of_the_table_is_used(capsys):
    assert table(capsys, "x" * 300, cell_limit=400)[1] == "n     " + "x" * 300


def test_json_is_ascii_with_instants_in_utc_and_seconds(capsys):
    print_json(
        {
            "at": datetime(2025, 1, 15, 2, 3, 4, tzinfo=UTC),
            "every": timedelta(seconds=1.5),
            "colour": Colour.RED,
            "text": "ü\x9b",
            "class": int,
        }
    )
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {
        "at": "2025-01-15T02:03:04+00:00",
        "every": 1.5,
        "colour": "red",
        "text": "ü\x9b",
        "class": "<class 'int'>",
    }


def test_facts_are_whole_and_one_line_each(capsys):
    print_facts({"id": 1, "error": "first\nsecond\x1b[2J", "nothing": None, "name": ""})
    assert capsys.readouterr().out == "id:      1\nerror:   first\n         second\nname:\n"


def test_partition_has_a_stored_and_a_shown_form():
    assert partition_fields("d:2025-01-15") == {
        "partition": "d:2025-01-15",
        "partition_shown": "2025-01-15",
    }
    assert partition_fields("d:no date")["partition_shown"] == "d:no date"


def test_table_fits_the_width_of_a_terminal(tmp_path):
    script = (
        "from flowstone_core.cli.listing import print_table\n"
        "print_table([{'a': '[bold]x' * 20, 'b': 'end'}], {'a': 'A', 'b': 'B'}, empty='')"
    )
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": "40", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=theirs, env=environ, check=True)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(65536).decode()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["A", "B"]
    assert lines[1].split() == ["[bold]x" * 5, "end"]
