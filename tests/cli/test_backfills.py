"""``flowstone backfills``: what ran, what was interrupted, and how it is continued or cancelled."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core import Flowstone
from flowstone_core.model.clock import SystemClock
from flowstone_core.runtime.backfill.backfill import Backfill, BackfillRequest
from flowstone_core.testing import FakeClock
from tests.cli.test_backfill import PIPELINE

WEEK = ("--from", "2025-01-01", "--to", "2025-01-07")


@pytest.fixture
def quiet(shop):
    shop.write(pipeline=PIPELINE.replace(".day % 7 == 3", " == 'never'"))
    return shop


def interrupt(*options, before=timedelta(0), leave=True, timezone=None):
    """Leave a backfill as a process does that is stopped, or killed, some time ago."""
    first, last, every = options
    with Flowstone(config="setup.cfg") as flow:
        span = flow.backfills.range("report", first, last, every=every, timezone=timezone)
        clock = FakeClock(SystemClock().now() - before)
        request = BackfillRequest("report", span, limit=2)
        backfill = Backfill(request, flow._open_store().backfills, clock, flow.project.assets)
        backfill.step()
        if leave:
            backfill.leave()


def day(number):
    return datetime(2025, 1, number, tzinfo=UTC).date()


def test_X10_finished_backfill_is_listed(quiet):
    assert quiet.run("backfills", "list").stdout == "no backfills\n"
    quiet.run("backfill", "report", *WEEK)
    rows = quiet.lines("backfills", "list")
    assert rows[0] == [
        "ID", "ASSET", "FROM", "TO", "EVERY", "STATE", "PARTITIONS", "REQUESTED", "COMPLETED",
        "FAILED", "STARTED",
    ]  # fmt: skip
    assert rows[1][:-1] == [
        "1", "report", "2025-01-01", "2025-01-07", "day", "finished", "7", "7", "7", "0",
    ]  # fmt: skip
    assert "backfills" not in quiet.run("status").stdout
    assert quiet.run("backfills", "list", "--unfinished").stdout == "no backfills\n"
    assert "command" not in quiet.run("backfills", "show", "1").stdout


def test_X10_interrupted_backfill_is_shown_with_its_command(quiet):
    interrupt(day(1), day(7), "day")
    (row,) = quiet.json("backfills", "list", "--unfinished", "--asset", "report")
    assert (row["state"], row["total"], row["requested"], row["unfinished"]) == (
        "interrupted", 7, 2, 2,
    )  # fmt: skip
    status = quiet.run("status").stdout
    assert "\nbackfills: 1 interrupted\nID  ASSET" in status
    assert quiet.json("status")["backfills"] == [row]
    shown = quiet.run("backfills", "show", "1").stdout
    assert "\nstate:       interrupted\n" in shown
    assert quiet.json("backfills", "show", "1") == row
    assert row["command"] == (
        "flowstone backfill report --from 2025-01-01 --to 2025-01-07 --every day"
    )
    said = quiet.run(*shlex.split(row["command"])[1:]).stdout
    assert said.startswith("resuming backfill 1 of report: 7 partitions\n")
    assert quiet.json("backfills", "show", "1")["state"] == "finished"


@pytest.mark.parametrize(
    ("before", "state"), [(timedelta(seconds=90), "running"), (timedelta(hours=1), "interrupted")]
)
def test_X10_killed_backfill_is_interrupted_after_two_minutes(quiet, before, state):
    interrupt(day(1), day(7), "day", before=before, leave=False)
    assert quiet.json("backfills", "show", "1")["state"] == state


@pytest.mark.parametrize(
    ("first", "last", "every", "timezone"),
    [
        ("2026-03-07T02:30-05:00", "2026-03-10T02:30-04:00", "day", "America/New_York"),
        ("2026-03-07T02:30-05:00", "2026-03-10T02:30-04:00", "day", None),
        ("2026-03-07T02:30-05:00", "2026-03-10T02:30-04:00", "90m", None),
        ("2026-03-07T02:30", "2026-03-10T02:30", "month", None),
    ],
)
def test_X10_command_continues_the_same_backfill(quiet, first, last, every, timezone):
    ends = (datetime.fromisoformat(first), datetime.fromisoformat(last))
    interrupt(*ends, every, timezone=timezone)
    command = shlex.split(quiet.json("backfills", "show", "1")["command"])
    assert quiet.json(*command[1:], "--dry-run")["resumes"] == 1


def test_X10_command_of_months_and_force_continues(quiet):
    interrupt("2025-01", "2025-03", None)
    with Flowstone(config="setup.cfg") as flow:
        begin, now = flow._open_store().backfills.begin, SystemClock().now()
        begin("report", "2025-01", "2025-03", "month", force=True, now=now)
        begin("report", "d:2025-1-1", "d:2025-01-07", "day", force=True, now=now)
    command = shlex.split(quiet.json("backfills", "show", "1")["command"])
    assert quiet.json(*command[1:], "--dry-run")["resumes"] == 1
    assert quiet.json("backfills", "show", "2")["command"].endswith("--every month --force")
    assert quiet.json("backfills", "show", "2")["state"] == "running"  # it has just begun
    assert quiet.json("backfills", "show", "3")["command"] is None  # a damaged row


def test_X10_backfill_is_cancelled(quiet):
    interrupt(day(1), day(7), "day")
    said = quiet.run("backfills", "cancel", "1").stdout
    assert said == "backfill 1 of report is cancelled: 2 requested, 0 completed\n"
    states = [row["state"] for row in quiet.json("materializations", "list")]
    assert states == ["cancelled", "cancelled"]
    assert quiet.json("backfills", "show", "1")["state"] == "cancelled"
    assert "backfills" not in quiet.run("status").stdout
    assert quiet.run("backfills", "cancel", "1", code=1).stderr == (
        "error: cannot cancel backfill 1: it is cancelled already\n"
    )
    assert quiet.run("backfills", "show", "9", code=1).stderr == "error: unknown backfill 9\n"
    interrupt(day(1), day(7), "day")
    row = quiet.json("backfills", "cancel", "2")
    assert (row["id"], row["state"], row["failed"], row["command"]) == (2, "cancelled", 2, None)


def test_X10_cancelled_backfill_ends_its_command(shop):
    # The first materialization cancels the backfill that requested it.
    shop.write(pipeline=CANCELLING)
    result = shop.run("backfill", "report", *WEEK, "--limit", "1", code=1)
    assert "warning: backfill 1 is cancelled: 1 of 7 done" in result.stderr
    assert "is finished" not in result.stdout
    found = shop.json("backfills", "show", "1")
    assert (found["state"], found["requested"], found["completed"]) == ("cancelled", 1, 1)


CANCELLING = """
from flowstone_core import Flowstone, Pipeline

pipeline = Pipeline("shop")

@pipeline.asset
def report(context):
    with Flowstone(config="setup.cfg") as flow:
        status = flow.backfills.cancel(1)
        return {"still running": status.unfinished}
"""
