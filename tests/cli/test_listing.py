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
        ("x" * (CELL_LIMIT + 1), "x" * (CELL_LIMIT + 1)),
    ],
)
def test_cell_is_one_line_safe_for_a_terminal(capsys, value, shown):
    assert table(capsys, value) == ["NAME  SAID", f"n     {shown}".rstrip()]


def test_N17_pipe_gets_whole_cells(capsys):
    assert table(capsys, "x" * 3000)[1] == "n     " + "x" * 3000


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


def terminal(width: int, rows: list[dict[str, str]], columns: dict[str, str]) -> list[str]:
    """Print a table on a terminal of a width; return its lines without colours."""
    script = (
        "from flowstone_core.cli.listing import print_table\n"
        f"print_table({rows!r}, {columns!r}, empty='')"
    )
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": str(width), "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=theirs, env=environ, check=True)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as reader:
        shown = reader.read(65536).decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


def test_table_fits_the_width_of_a_terminal():
    rows = [{"error": "[bold]x " * 20, "b": "end"}]
    lines = terminal(40, rows, {"error": "A", "b": "B"})
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["A", "B"]
    assert lines[1].split() == [*["[bold]x"] * 4, "end"]


EVENT = {
    "id": "12345", "created_at": "2026-11-26 18:00:00Z", "source": "sensor:closing_time",
    "asset": "closing_time_of_the_shop", "partition_shown": "2026-12-31", "key": "k" * 150,
    "error": "cannot connect: the name of the host is not known to any server " * 3,
}  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200, 400])
def test_N17_name_is_never_broken_on_a_terminal(width):
    columns = {key: key.upper() for key in EVENT}
    text = "\n".join(terminal(width, [EVENT, EVENT], columns))
    for key in EVENT.keys() - {"key", "error"}:
        assert text.count(EVENT[key]) == 2, text
    assert "k" * (CELL_LIMIT - 1) + "…" in text


def test_N17_table_too_wide_for_a_terminal_is_printed_as_records():
    rows = [{"name": "a" * 30, "asset": "b" * 30}, {"name": "c", "asset": ""}]
    assert terminal(50, rows, {"name": "NAME", "asset": "ASSET"}) == [
        "NAME:  " + "a" * 30,
        "ASSET: " + "b" * 30,
        "",
        "NAME: c",
    ]
