"""``flowstone schedules next``: of a schedule, and of an expression alone."""

import json
import subprocess
import sys
from datetime import datetime

import pytest

from flowstone_core.model.clock import SystemClock

SCHEDULES = """
pipeline.schedule("daily_report", cron="30 2 * * *", timezone="America/New_York")
pipeline.schedule("raw_orders", name="hourly", cron="30 * * * *", timezone="America/New_York",
                  partition="${date}T${hour}:${minute}${offset}")
pipeline.schedule("raw_orders", name="over", every="day", end="2001-01-01")

def boom(at):
    raise ValueError(f"no orders on {at.date()}")
pipeline.schedule("raw_orders", name="booming", every="day", partition_fn=boom)
"""
SAY_WHAT_IS_IMPORTED = """
import atexit, sys
from flowstone_core.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


def imported_by(folder, *arguments):
    command = [sys.executable, "-c", SAY_WHAT_IS_IMPORTED, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


@pytest.fixture
def timed(shop):
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + SCHEDULES)
    return shop


def test_instants_have_partitions_and_clock_changes(timed):
    options = ["--after", "2026-03-07T02:30", "--count", "3"]
    assert timed.json("schedules", "next", "daily_report", *options) == [
        {
            "at": "2026-03-08T03:00:00-04:00",
            "utc": "2026-03-08T07:00:00+00:00",
            "timezone": "America/New_York",
            "partition": "d:2026-03-08",
            "partition_shown": "2026-03-08",
            "shift": "clocks went forward 1h",
        },
        {
            "at": "2026-03-09T02:30:00-04:00",
            "utc": "2026-03-09T06:30:00+00:00",
            "timezone": "America/New_York",
            "partition": "d:2026-03-09",
            "partition_shown": "2026-03-09",
            "shift": None,
        },
        {
            "at": "2026-03-10T02:30:00-04:00",
            "utc": "2026-03-10T06:30:00+00:00",
            "timezone": "America/New_York",
            "partition": "d:2026-03-10",
            "partition_shown": "2026-03-10",
            "shift": None,
        },
    ]
    assert timed.lines("schedules", "next", "daily_report", *options)[:3] == [
        ["AT", "TIME ZONE", "UTC", "PARTITION", "CLOCKS"],
        ["2026-03-08 03:00:00-04:00", "America/New_York", "2026-03-08 07:00:00Z", "2026-03-08",
         "clocks went forward 1h"],
        ["2026-03-09 02:30:00-04:00", "America/New_York", "2026-03-09 06:30:00Z", "2026-03-09"],
    ]  # fmt: skip


def test_repeated_hour_is_told_apart(timed):
    rows = timed.json("schedules", "next", "hourly", "--after", "2026-11-01T00:45", "--count", "3")
    assert [(row["at"], row["partition_shown"], row["shift"]) for row in rows] == [
        ("2026-11-01T01:30:00-04:00", "2026-11-01 05:30:00Z", None),
        ("2026-11-01T01:30:00-05:00", "2026-11-01 06:30:00Z", "clocks went back 1h"),
        ("2026-11-01T02:30:00-05:00", "2026-11-01 07:30:00Z", None),
    ]


def test_ten_instants_from_now_on_by_default(timed):
    before = SystemClock().now()
    rows = timed.json("schedules", "next", "hourly")
    assert len(rows) == 10
    assert datetime.fromisoformat(rows[0]["utc"]) > before


def test_ended_schedule_has_no_instants(timed):
    assert timed.run("schedules", "next", "over").stdout == "no more instants\n"
    assert timed.json("schedules", "next", "over") == []


def test_paused_schedule_has_instants_and_a_warning(timed):
    timed.run("schedules", "pause", "hourly")
    result = timed.run("schedules", "next", "hourly", "--count", "1", "--json")
    assert result.stderr == (
        "warning: schedule hourly is paused: it does not fire at these instants\n"
    )
    assert len(json.loads(result.stdout)) == 1


def test_raising_partition_fn_is_reported(timed):
    result = timed.run("schedules", "next", "booming", "--after", "2026-01-01", code=1)
    assert result.stderr == (
        "error: schedule 'booming': its trigger or its partition_fn raised "
        "ValueError: no orders on 2026-01-02\n"
    )
    assert result.stdout == ""


def test_instants_of_an_expression_are_a_list_of_texts(empty_folder):
    command = ["schedules", "next", "--cron", "*/30 1-2 * * *", "--timezone", "America/New_York"]
    found = empty_folder.json(*command, "--after", "2026-03-08T00:00:00-05:00", "--count", "4")
    assert found == [
        "2026-03-08T01:00:00-05:00",
        "2026-03-08T01:30:00-05:00",
        "2026-03-09T01:00:00-04:00",
        "2026-03-09T01:30:00-04:00",
    ]


def test_instants_of_an_interval_are_lines(empty_folder):
    command = ["schedules", "next", "--every", "day at 10:30", "--after", "2026-01-31T12:00"]
    assert empty_folder.run(*command, "--count", "2").stdout == (
        "every day at 10:30 (UTC)\n2026-02-01 10:30:00+00:00\n2026-02-02 10:30:00+00:00\n"
    )


def test_expression_is_described_in_words(empty_folder):
    command = ["schedules", "next", "--cron", "*/5 9-17 * * mon-fri", "--count", "1"]
    assert empty_folder.run(*command).stdout.startswith(
        "Every 5 minutes, between 09:00 and 17:59, Monday through Friday (UTC)\n"
    )


@pytest.mark.parametrize(
    ("after", "first"),
    [
        ("2026-07-01", "2026-07-01T12:00:00+02:00"),
        ("2026-07-01T12:00", "2026-07-02T12:00:00+02:00"),
        ("2026-07-01T11:59:59", "2026-07-01T12:00:00+02:00"),
        ("2026-07-01T11:00Z", "2026-07-02T12:00:00+02:00"),
        ("2026-07-01T11:00:00-05:00", "2026-07-02T12:00:00+02:00"),
    ],
)
def test_moment_without_offset_is_local(empty_folder, after, first):
    command = ["schedules", "next", "--cron", "0 12 * * *", "--timezone", "Europe/Warsaw"]
    assert empty_folder.json(*command, "--after", after, "--count", "1") == [first]


def test_moment_is_read_in_the_zone_of_the_schedule(timed):
    # In UTC this is before the instant of that day.
    rows = timed.json("schedules", "next", "daily_report", "--after", "2026-07-01T02:30")
    assert rows[0]["at"] == "2026-07-02T02:30:00-04:00"


def test_expression_needs_no_configuration_and_no_store(tmp_path):
    (tmp_path / "setup.cfg").write_text("[flowstone]\nthis is = wrong\n")
    options = ["--cron", "@daily", "--count", "1", "--json"]
    imported = imported_by(tmp_path, "schedules", "next", *options)
    assert imported & {"sqlalchemy", "alembic", "pluggy", "stevedore"} == set()
    assert [path.name for path in tmp_path.iterdir()] == ["setup.cfg"]


def test_a_schedule_needs_a_store(timed):
    # So what is tested above could have been otherwise.
    assert "sqlalchemy" in imported_by(timed.folder, "schedules", "next", "daily_report")


def test_every_invalid_field_is_named(empty_folder):
    command = ["schedules", "next", "--cron", "60 61 24 32 13 8", "--timezone", "Mars/Olympus"]
    result = empty_folder.run(*command, "--after", "tomorrow", code=2)
    wrong = [
        "unknown time zone 'Mars/Olympus'",
        "invalid cron expression: second '60' is out of range; allowed are 0-59",
        "invalid cron expression: minute '61' is out of range; allowed are 0-59",
        "invalid cron expression: hour '24' is out of range; allowed are 0-23",
        "invalid cron expression: day of month '32' is out of range; allowed are 1-31 and L",
        "invalid cron expression: month '13' is out of range; allowed are 1-12 and jan-dec",
        (
            "invalid cron expression: day of week '8' is out of range; "
            "allowed are 0-7 and sun-sat, 5L, 5#2"
        ),
        "invalid moment 'tomorrow': use ISO 8601",
    ]
    lines = result.stderr.splitlines()
    assert len(lines) == len(wrong)
    for line, text in zip(lines, wrong, strict=True):
        assert line.startswith(f"error: {text}")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cron", "0 0 30 2 *"], "never fires"),
        (["--cron", ""], "0 fields; five are allowed"),
        (["--cron", "@dayly"], "did you mean '@daily'?"),
        (["--every", "3 dyas"], "unknown unit 'dyas'"),
        (["--every", ""], "invalid interval"),
        (["--cron", "@daily", "--after", "2026-02-30"], "invalid moment '2026-02-30'"),
        (["--cron", "@daily", "--count", "0"], "0 is not in the range"),
        (["--cron", "@daily", "--every", "day"], "give exactly one of NAME, --cron and --every"),
        (["nightly", "--every", "day"], "give exactly one of NAME, --cron and --every"),
        ([], "give exactly one of NAME, --cron and --every"),
        (["nightly", "--timezone", "UTC"], "--timezone needs --cron or --every"),
    ],
    ids=str,
)
def test_invalid_preview_exits_2(empty_folder, options, said):
    result = empty_folder.run("schedules", "next", *options, code=2)
    assert said in result.stderr
    assert result.stdout == ""
    assert list(empty_folder.folder.iterdir()) == []
