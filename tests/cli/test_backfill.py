"""``flowstone backfill``: what it says, to people and to programs, and its exit codes."""

from __future__ import annotations

import os
import pty
import re

import click
import pytest

from flowstone_core.cli.backfill import Lines
from flowstone_core.runtime.backfill.backfill import Progress

WEEK = ("--from", "2025-01-01", "--to", "2025-01-07")
PIPELINE = """
from flowstone_core import Discard, Pipeline

pipeline = Pipeline("shop")

@pipeline.asset
def report(context):
    if context.partition.day % 7 == 3:
        raise Discard("no such\\nday")
"""


def fields(text):
    return {name for name in re.split(r", | and ", re.sub(r" \([^()]*\)", "", text)) if name}


def test_backfill_prints_progress_and_result(shop):
    shop.run("materialize", "raw_orders", "2025-01-02")
    shop.run("run", "--once")
    first, second, *between, last = shop.run("backfill", "raw_orders", *WEEK).stdout.splitlines()
    assert first == "backfill 1 of raw_orders: 7 partitions"
    assert second == "no runner is alive: this command runs the materializations"
    assert between[0] == "1 of 7 done, 1 skipped, 4 unfinished"
    assert between[-1] == "7 of 7 done, 1 skipped"
    assert len(set(between)) == len(between)
    assert last == "backfill 1 is finished: 6 completed, 1 skipped, 0 failed"
    assert shop.run("backfill", "raw_orders", *WEEK).stdout.splitlines() == [
        "backfill 2 of raw_orders: 7 partitions",
        "7 of 7 done, 7 skipped",
        "backfill 2 is finished: 0 completed, 7 skipped, 0 failed",
    ]
    sources = {event["source"] for event in shop.json("events", "list", "--asset", "raw_orders")}
    assert sources == {"manual", "sensor:feed", "backfill:1"}


def test_one_partition_is_one(shop):
    said = shop.run("backfill", "raw_orders", "--from", "2025-01-01", "--to", "2025-01-01").stdout
    assert said.startswith("backfill 1 of raw_orders: 1 partition\n")


def test_failed_partitions_are_listed_and_exit_1(shop):
    shop.write(pipeline=PIPELINE)
    result = shop.run("backfill", "report", *WEEK, code=1)
    assert result.stdout.endswith("\nbackfill 1 is finished: 6 completed, 0 skipped, 1 failed\n")
    (failed,) = shop.json("materializations", "list", "--state", "discarded")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    number = failed["id"]
    hint = f"(flowstone materializations show {number})"
    assert errors == [
        f"error: materialization {number}, 2025-01-03, ended discarded: no such day {hint}"
    ]


def test_first_twenty_failures_are_listed(shop):
    shop.write(pipeline=PIPELINE.replace("% 7 == 3", "< 40"))
    result = shop.run("backfill", "report", "--from", "2025-01-01", "--to", "2025-01-22", code=1)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 21
    assert errors[-1] == "error: 2 more failed"


def test_a_program_gets_one_object(shop):
    shop.write(pipeline=PIPELINE)
    found = shop.json("backfill", "report", *WEEK, code=1)
    assert found.pop("failures") == [
        {
            "materialization": 3,
            "partition": "d:2025-01-03",
            "partition_shown": "2025-01-03",
            "state": "discarded",
            "error": "no such\nday",
        }
    ]
    assert found == {
        "first": "d:2025-01-01",
        "last": "d:2025-01-07",
        "every": "day",
        "backfill": 1,
        "resumed": False,
        "total": 7,
        "completed": 6,
        "skipped": 0,
        "failed": 1,
        "unfinished": 0,
        "left": 0,
        "finished": True,
        "cancelled": False,
        "here": True,
    }
    again = shop.json("backfill", "report", *WEEK, "--force", "--limit", "1", code=1)
    assert (again["backfill"], again["completed"], again["skipped"]) == (2, 6, 0)


def test_dry_run_lists_partitions_and_requests_nothing(shop):
    shop.run("materialize", "raw_orders", "2025-01-01")
    shop.run("run", "--once")
    shop.run("materialize", "raw_orders", "2025-01-02")
    before = shop.json("materializations", "list")
    assert shop.run("backfill", "raw_orders", *WEEK, "--every", "2d", "--dry-run").stdout == (
        "PARTITION   ACTION\n"
        "2025-01-01  skip\n"
        "2025-01-03  materialize\n"
        "2025-01-05  materialize\n"
        "2025-01-07  materialize\n"
        "\n"
        "4 partitions: 3 to materialize, 0 to wait for, 1 to skip\n"
    )
    found = shop.json("backfill", "raw_orders", *WEEK, "--every", "1d", "--dry-run")
    assert found["partitions"][1] == {
        "partition": "d:2025-01-02",
        "partition_shown": "2025-01-02",
        "action": "wait",
    }
    del found["partitions"]
    assert found.pop("every") == "day"
    assert (found.pop("first"), found.pop("last")) == ("d:2025-01-01", "d:2025-01-07")
    assert found == {"resumes": None, "total": 7, "materialize": 5, "wait": 1, "skip": 1}
    assert shop.json("materializations", "list") == before


def test_long_dry_run_is_cut_in_tables_and_whole_in_json(shop):
    span = ("--from", "2025-01-01T00:00Z", "--to", "2025-03-01T00:00Z")
    lines = shop.run("backfill", "raw_orders", *span, "--dry-run").stdout.splitlines()
    assert len(lines) == 1 + 50 + 1 + 2
    assert lines[50].startswith("2025-01-03 01:00:00Z")
    assert lines[51] == "... and 1,367 more"
    assert lines[53] == "1,417 partitions: 1,417 to materialize, 0 to wait for, 0 to skip"
    assert len(shop.json("backfill", "raw_orders", *span, "--dry-run")["partitions"]) == 1_417
    short = ("--from", "2025-01-01T00:00Z", "--to", "2025-01-03T01:00Z")
    lines = shop.run("backfill", "raw_orders", *short, "--dry-run").stdout.splitlines()
    assert len(lines) == 1 + 50 + 2


def test_dry_run_reports_a_resumable_backfill(shop):
    shop.write(
        pipeline=PIPELINE.replace('raise Discard("no such\\nday")', "os._exit(9)").replace(
            "from flow", "import os\nfrom flow", 1
        )
    )
    killed = shop.process("backfill", "report", *WEEK, "--limit", "1")
    killed.communicate(timeout=300)
    assert killed.returncode == 9
    lines = shop.run("backfill", "report", *WEEK, "--dry-run").stdout.splitlines()
    assert lines[0] == "would resume backfill 1"
    assert lines[-1] == "7 partitions: 4 to materialize, 1 to wait for, 2 to skip"
    assert shop.json("backfill", "report", *WEEK, "--dry-run")["resumes"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["raw_order", *WEEK], 1, "error: unknown asset 'raw_order' (did you mean"),
        (["raw_orders", "--from", "2025-01-01"], 2, "Missing option '--to'"),
        (["raw_orders", "--from", "2025-02-30", "--to", "2025-03-01"], 2, "Invalid value for '--f"),
        (["raw_orders", *WEEK[2:], "--from", "2025-02-01"], 2, "error: the first partition, 2025"),
        (["raw_orders", *WEEK[2:], "--from", "x"], 2, "error: x is a string, which nothing comes"),
        (["raw_orders", *WEEK, "--every", "dya"], 2, "(did you mean 'day'?)"),
        (["raw_orders", *WEEK, "--limit", "0"], 2, "0 is not in the range 1<=x<=1000"),
        (["raw_orders", *WEEK, "--limit", "1001"], 2, "1001 is not in the range"),
    ],
)
def test_backfill_with_an_invalid_argument_exits_with_its_code(shop, arguments, code, said):
    for more in ([], ["--dry-run"]):
        assert said in shop.run("backfill", *arguments, *more, code=code).stderr
    assert shop.json("materializations", "list") == []


def test_help_names_the_json_fields(shop):
    text = " ".join(shop.run("backfill", "--help").stdout.split())
    plain, dry = re.findall(r"(?:an object|With --dry-run): (.*?)\. (?=With|Exit)", text)
    inner = re.search(r"failures \((.*?): (.*?)\)", plain)
    shop.write(pipeline=PIPELINE)
    planned = shop.json("backfill", "report", *WEEK, "--dry-run")
    assert fields(dry) == set(planned)
    assert f"partitions ({', '.join(planned['partitions'][0])})" in dry
    found = shop.json("backfill", "report", *WEEK, code=1)
    assert fields(plain) == set(found)
    assert fields(inner[2]) == set(found["failures"][0])


def test_pipe_gets_few_progress_lines():
    def lines(sparing):
        said, shown = [], []
        tell = Lines("report", said.append, shown.append, sparing=sparing)
        for done in range(1_001):
            tell(Progress(7, resumed=True, total=1_000, completed=done, here=done > 5))
        assert said == [
            "resuming backfill 7 of report: 1,000 partitions",
            "no runner is alive: this command runs the materializations",
        ]
        return shown

    assert len(lines(sparing=False)) == 1_001
    shown = lines(sparing=True)
    assert len(shown) == 101
    assert (shown[0], shown[1]) == ("0 of 1,000 done", "10 of 1,000 done")
    assert shown[-1] == "1,000 of 1,000 done"


def test_terminal_updates_one_progress_line(shop):
    ours, theirs = pty.openpty()
    environ = {"COLUMNS": "80", "TERM": "xterm"}
    process = shop.process("backfill", "raw_orders", *WEEK, stdout=theirs, environ=environ)
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        # On Linux the end of a terminal is an error.
        while chunk := read(terminal):
            shown += chunk
    process.communicate(timeout=300)
    assert process.returncode == 0
    stays = click.unstyle(shown.decode()).replace("\r\x1b[2K", "\r").splitlines()
    assert "backfill 1 is finished: 7 completed, 0 skipped, 0 failed" in stays[-1]
    assert any("backfill 1 of raw_orders: 7 partitions" in line for line in stays)
    assert "of 7 done" in shown.decode()
    assert "\x1b[2K" in shown.decode()


def read(terminal):
    try:
        return terminal.read(65_536)
    except OSError:
        return b""


SCHEDULED = (
    PIPELINE.replace(".day % 7 == 3", " == 'never'")
    + """
pipeline.schedule("report", cron="{cron}", timezone="America/New_York", partition="{partition}")
"""
)
NIGHTS = ("--from", "2026-03-07T02:30-05:00", "--to", "2026-03-10T02:30-04:00")


def scheduled(shop, cron="30 2 * * *", partition="${instant}"):
    text = SCHEDULED.replace("{cron}", cron).replace("{partition}", partition)
    shop.write(pipeline=text)


def shown(found):
    return [each["partition_shown"] for each in found["partitions"]]


def test_W7_backfill_by_day_has_the_days_of_the_schedule(shop):
    scheduled(shop)
    found = shop.json("backfill", "report", *NIGHTS, "--every", "day", "--dry-run")
    schedule = shop.json(
        "schedules", "next", "report", "--after", "2026-03-07T00:00-05:00", "--count", "4"
    )
    assert [each["partition"] for each in found["partitions"]] == [
        each["partition"] for each in schedule
    ]
    assert (found["every"], found["last"]) == ("day in America/New_York", "dt:2026-03-10T06:30:00Z")
    said = shop.run("backfill", "report", *NIGHTS, "--every", "day").stdout
    assert said.startswith("backfill 1 of report: 4 partitions, every day in America/New_York\n")
    plain = shop.run("backfill", "report", *NIGHTS, "--every", "day", "--dry-run")
    assert "4 partitions, every day in America/New_York: 0 to materialize" in plain.stdout
    assert plain.stderr == ""


def test_W7_backfill_by_elapsed_days_says_that_its_end_is_left_out(shop):
    shop.write(pipeline=PIPELINE)
    for every in ("day", "24h"):
        result = shop.run("backfill", "report", *NIGHTS, "--every", every, "--dry-run")
        assert result.stderr == (
            "warning: not in the range: 2026-03-10 06:30:00Z; its last partition is "
            "2026-03-09 07:30:00Z, every day from 2026-03-07 07:30:00Z "
            "(for local days: --every day --timezone NAME)\n"
        )
    zone = ("--timezone", "America/New_York")
    result = shop.run("backfill", "report", *NIGHTS, "--every", "day", *zone, "--dry-run")
    assert result.stderr == ""
    result = shop.run("backfill", "report", *WEEK, "--every", "2w", "--dry-run")
    assert "not in the range: 2025-01-07; its last partition is 2025-01-01" in result.stderr


def test_W8_backfill_of_months_has_the_texts_of_the_schedule(shop):
    scheduled(shop, "@monthly", "${year}-${month}")
    months = ("--from", "2025-11", "--to", "2026-01")
    found = shop.json("backfill", "report", *months, "--dry-run")
    assert [each["partition"] for each in found["partitions"]] == ["2025-11", "2025-12", "2026-01"]
    shop.run("backfill", "report", *months)
    again = shop.json("backfill", "report", *months, "--dry-run")
    assert (again["total"], again["skip"], again["every"]) == (3, 3, "month")


def test_W8_backfill_of_dates_for_months_is_warned_of(shop):
    scheduled(shop, "@monthly", "${year}-${month}")
    dates = ("--from", "2025-11-01", "--to", "2026-01-01", "--every", "month", "--dry-run")
    assert shop.run("backfill", "report", *dates).stderr == (
        "warning: schedule 'report' names partitions otherwise: 2025-11, not 2025-11-01\n"
    )


def test_backfill_of_dates_that_a_schedule_names_is_quiet(shop):
    scheduled(shop, "@daily", "${date}")
    assert shop.run("backfill", "report", *WEEK, "--dry-run").stderr == ""


def test_W8_texts_of_another_form_are_refused_with_the_templates(shop):
    scheduled(shop, partition="n-${date}")
    north = ("--from", "n-2025-01-05", "--to", "n-2025-01-06", "--dry-run")
    assert shown(shop.json("backfill", "report", *north)) == ["n-2025-01-05", "n-2025-01-06"]
    result = shop.run("backfill", "report", "--from", "s-1", "--to", "s-2", code=2)
    assert result.stderr == (
        "error: no range from 's-1' to 's-2': must be from a date to a date, a datetime to a "
        "datetime, or a month to a month, as 2025-01 (or from and to texts that a schedule writes: "
        "n-${date} in America/New_York)\n"
    )


def test_backfill_in_several_zones_needs_one(shop):
    scheduled(shop)
    shop.run("schedules", "add", "report", "--name", "other", "--every", "day")
    result = shop.run("backfill", "report", *NIGHTS, "--every", "day", code=2)
    assert "asset 'report' are in several time zones: America/New_York, UTC" in result.stderr
    wrong = shop.run("backfill", "report", *NIGHTS, "--timezone", "Europe/Warsow", code=2)
    assert "did you mean 'Europe/Warsaw'" in wrong.stderr
    given = ("--every", "day", "--timezone", "UTC", "--dry-run")
    assert shop.json("backfill", "report", *NIGHTS, *given)["total"] == 3
    assert shop.json("backfill", "report", *NIGHTS, "--dry-run")["total"] == 72
