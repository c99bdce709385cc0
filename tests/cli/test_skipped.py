"""What a sensor skips for good, and why it finds nothing: told by every command about it."""

import pytest

PIPELINE = """
from flowstone_core import NotTriggered, Pipeline, Skipped, Triggered, function_sensor

pipeline = Pipeline("shop")

@pipeline.asset
def raw_orders(context): ...

@function_sensor(initial=0)
def files(state):
    if state == 0:
        return Triggered("a", 1, skipped=[Skipped("no date in the key", 2, "in/upload.tmp")])
    if state == 1:
        return NotTriggered(2, skipped=Skipped("too old", example="in/1999.csv\\x1b[31m"))
    return NotTriggered(state, reason="in/new.csv is still written")

pipeline.sensor("files", files, asset="raw_orders")
"""


@pytest.fixture
def files(empty_folder):
    empty_folder.write(PIPELINE)
    return empty_folder


def explained(shop):
    return " ".join(shop.json("explain", "files")[0]["facts"])


def test_dry_run_shows_what_would_be_skipped(files):
    text = files.run("sensors", "poll", "files", "--dry-run").stdout
    assert "\nskipped for good:\nSKIPPED  REASON              EXAMPLE\n" in text
    assert "\n2        no date in the key  in/upload.tmp\n" in text
    assert files.json("sensors", "poll", "files", "--dry-run")["skipped"] == [
        {"reason": "no date in the key", "count": 2, "example": "in/upload.tmp"}
    ]


def test_dry_run_shows_why_nothing_fires(files):
    arguments = ("sensors", "poll", "files", "--dry-run", "--state", "2")
    assert "reason:       in/new.csv is still written\n" in files.run(*arguments).stdout
    shown = files.json(*arguments)
    assert (shown["reason"], shown["skipped"]) == ("in/new.csv is still written", [])


def test_explain_tells_each_skipped_item_with_count_and_example(files):
    files.run("run", "--once")
    files.run("run", "--once")
    text = explained(files)
    assert "2 items, such as in/upload.tmp: no date in the key." in text
    assert "1 item, such as in/1999.csv: too old." in text
    assert text.count("Skipped for good, at ") == 2


def test_sensors_show_lists_skipped_items(files):
    files.run("run", "--once")
    files.run("run", "--once")
    text = files.run("sensors", "show", "files").stdout
    ticks, skipped = text.split("\nskipped for good:\n")
    assert "SKIPPED" in ticks
    rows = [line.split("  ") for line in skipped.splitlines()]
    assert [[cell.strip() for cell in row if cell][1:] for row in rows] == [
        ["SKIPPED", "REASON", "EXAMPLE"],
        ["1", "too old", "in/1999.csv"],
        ["2", "no date in the key", "in/upload.tmp"],
    ]
    shown = files.json("sensors", "show", "files")
    assert [tick["skipped"] for tick in shown["ticks"]] == [1, 2]
    assert shown["skipping"] == shown["ticks"]
    assert shown["ticks"][1]["skipped_items"] == [
        {"reason": "no date in the key", "count": 2, "example": "in/upload.tmp"}
    ]


def test_sensors_show_without_skipped_items_has_no_list_of_them(files):
    assert "skipped for good" not in files.run("sensors", "show", "files").stdout


def test_run_logs_skipped_items_as_a_warning(files):
    process = files.process("run", "--once")
    _, stderr = process.communicate()
    (line,) = (line for line in stderr.splitlines() if "in/upload.tmp" in line)
    assert "WARNING" in line.upper()
    assert "no date in the key (2, such as in/upload.tmp)" in line


def test_N6_explain_and_show_tell_why_polls_find_nothing(files):
    for _ in range(3):
        files.run("run", "--once")
    assert "in/new.csv is still written." in explained(files)
    assert "Its polls find nothing, since " in explained(files)
    shown = files.json("sensors", "show", "files")
    assert shown["quiet_reason"] == "in/new.csv is still written"
    assert shown["quiet_since"]
    assert len(shown["ticks"]) == 2
    files.run("sensors", "reset", "files", "--yes")
    assert files.json("sensors", "show", "files")["quiet_reason"] is None
