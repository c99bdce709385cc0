"""``flowstone schedules`` list, show and skipped; schedules in ``check`` and ``status``."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core import Flowstone
from flowstone_core.app.status import ScheduleHealth
from flowstone_core.cli import main
from flowstone_core.cli.schedules import HEALTHS, SILENT
from flowstone_core.model.tick import SkipReason
from flowstone_core.scheduling.settings import Catchup, Overlap, ScheduleSettings


def test_schedules_are_listed(timed, documented):
    rows = timed.json("schedules", "list")
    assert set(rows[0]) == documented("schedules", "list")
    nightly, raw_orders = rows
    assert nightly["name"] == "nightly"
    assert nightly["health"] == "ok"
    assert nightly["asset"] == "daily_report"
    assert (nightly["trigger"], nightly["text"]) == ("cron", "30 2 * * *")
    assert nightly["words"] == "At 02:30"
    assert nightly["timezone"] == "America/New_York"
    assert nightly["origin"] == "setup.cfg:4"
    assert nightly["edited"] == []
    assert nightly["settings"] == {
        "cron": "30 2 * * *",
        "asset": "daily_report",
        "timezone": "America/New_York",
        "jitter": "1m30s",
    }
    assert raw_orders["origin"].endswith(f"{timed.module}.py:29")
    assert datetime.fromisoformat(raw_orders["next_at"]).minute % 15 == 0


def test_schedules_are_listed_as_a_table(timed):
    table = timed.lines("schedules", "list")
    assert table[0] == ["SCHEDULE", "HEALTH", "ASSET", "FIRES", "IN WORDS", "TIME ZONE", "NEXT",
                        "LAST", "ORIGIN", "ERROR"]  # fmt: skip
    assert table[1][:6] == [
        "nightly", "ok", "daily_report", "cron 30 2 * * *", "At 02:30", "America/New_York"
    ]  # fmt: skip
    assert table[1][6].endswith((" 02:30:00-05:00", " 02:30:00-04:00"))
    assert table[1][7] == "setup.cfg:4"
    assert table[2][3:6] == ["every 15 minutes", "every 15 minutes", "UTC"]


def test_schedules_can_be_filtered(timed):
    timed.run("schedules", "pause", "nightly")
    paused = timed.json("schedules", "list", "--health", "paused")
    assert [row["name"] for row in paused] == ["nightly"]
    of_orders = timed.json("schedules", "list", "--asset", "raw_orders")
    assert [row["name"] for row in of_orders] == ["raw_orders"]
    assert timed.run("schedules", "list", "--health", "broken").stdout == "no schedules\n"


def test_health_option_accepts_every_health():
    assert list(ScheduleHealth) == HEALTHS
    assert set(HEALTHS) > SILENT


@pytest.mark.parametrize("command", ["add", "update"])
def test_every_setting_is_an_option(command):
    options = {
        option.name: option for option in main.commands["schedules"].commands[command].params
    }
    assert options.keys() >= {*ScheduleSettings.model_fields, "asset", "cron", "every", "trigger"}
    assert list(options["catchup"].type.choices) == list(Catchup)
    assert list(options["overlap"].type.choices) == list(Overlap)


def test_one_schedule_is_shown(timed, runs):
    runs(timed)
    runs(timed, hours=2)
    text = timed.run("schedules", "show", "raw_orders").stdout
    assert "name:           raw_orders\nhealth:         ok\n" in text
    assert "words:          every 15 minutes\n" in text
    assert "\n  every:            15 minutes\n" in text
    assert "\n  catchup_window:   1d\n" in text, "defaults are shown too"
    assert "\nTICK  AT " in text
    assert "\nID  SCHEDULE    REASON   SKIPPED  FIRST " in text
    shown = timed.json("schedules", "show", "raw_orders")
    assert shown.keys() - timed.json("schedules", "list")[0].keys() == {"ticks", "skips"}
    assert shown["settings"] == {
        "every": "15 minutes", "asset": "raw_orders", "overlap": "allow"
    }  # fmt: skip
    assert [tick["outcome"] for tick in shown["ticks"]] == ["triggered"]
    assert [skip["count"] for skip in shown["skips"]] == [7]


def test_schedule_before_its_first_tick_is_shown(timed):
    text = timed.run("schedules", "show", "nightly").stdout
    assert "\n  jitter:           1m30s\n" in text
    assert re.search(r"\nnext at:        [-0-9]{10} 02:30:00-0[45]:00\n", text)
    assert text.endswith("\nno ticks recorded yet\n")
    assert timed.json("schedules", "show", "nightly")["skips"] == []


def test_skips_are_listed_with_the_reason(timed, runs, documented):
    runs(timed)
    runs(timed, hours=2)
    rows = timed.json("schedules", "skipped", "raw_orders")
    assert set(rows[0]) == documented("schedules", "skipped")
    assert rows == [
        {
            "id": 1,
            "schedule": "raw_orders",
            "tick_id": rows[0]["tick_id"],
            "reason": "catchup",
            "first_at": "2026-01-15T12:45:00+00:00",
            "last_at": "2026-01-15T14:15:00+00:00",
            "count": 7,
            "complete": True,
        }
    ]
    assert timed.lines("schedules", "skipped") == [
        ["ID", "SCHEDULE", "REASON", "SKIPPED", "FIRST", "LAST"],
        ["1", "raw_orders", "catchup", "7", "2026-01-15 12:45:00Z", "2026-01-15 14:15:00Z"],
    ]
    assert timed.run("schedules", "skipped", "nightly").stdout == "no skipped instants\n"


def test_T6_uncountable_skips_are_a_lower_bound(timed, runs):
    timed.declare("[flowstone:schedule:raw_orders]\nevery = 1s\n")
    runs(timed)
    runs(timed, hours=5)
    skip = timed.json("schedules", "skipped")[0]
    assert (skip["count"], skip["complete"]) == (1_000, False)
    assert "at least 1000" in timed.run("schedules", "skipped").stdout


def test_skips_are_paged(timed, runs):
    runs(timed)
    for _ in range(3):
        runs(timed, hours=1)
    assert [row["id"] for row in timed.json("schedules", "skipped", "--limit", "2")] == [3, 2]
    assert [row["id"] for row in timed.json("schedules", "skipped", "--before", "2")] == [1]


def test_help_describes_every_skip_reason():
    text = main.commands["schedules"].commands["skipped"].help
    reasons = text.split("Reasons: ")[1].split("Instants that one tick")[0]
    for reason in SkipReason:
        assert f"{reason}" in reasons


def test_removed_schedule_keeps_its_history(timed, runs):
    timed.declare("[flowstone:schedule:hourly]\nasset = till\nevery = hour\n")
    runs(timed)
    runs(timed, hours=3)
    timed.declare("")
    timed.run("schedules", "remove", "hourly")
    assert [row["count"] for row in timed.json("schedules", "skipped", "hourly")] == [2]
    assert [row["key"] for row in timed.json("events", "list", "--source", "schedule:hourly")] == [
        "2026-01-15T15:00:00Z"
    ]


def test_next_instant_is_in_the_future_without_a_runner(timed, runs, clock):
    runs(timed)
    clock.advance(timedelta(days=3))
    with Flowstone(config="setup.cfg", clock=clock) as flow:
        found = flow.schedules.get("raw_orders").next_at
    assert found == datetime(2026, 1, 18, 12, 45, tzinfo=UTC)


def test_failing_schedule_shows_its_error(timed, runs):
    section = f"[flowstone:schedule:till]\nevery = hour\npartition_fn = {timed.module}:boom\n"
    timed.declare(section)
    runs(timed)
    runs(timed, hours=1)
    failing = timed.schedule("till")
    assert (failing["health"], failing["failures"]) == ("failing", 1)
    assert failing["error"] == "ValueError: no such day"
    status = timed.run("status").stdout
    assert "\nschedules: 1 ok, 1 failing\n" in status or "1 failing, 1 ok\n" in status
    assert "ValueError: no such day" in status
    assert timed.json("events", "list", "--source", "schedule:till") == []


def test_schedule_paused_by_a_failure_shows_the_reason(timed, runs):
    timed.declare("[flowstone:schedule:till]\nevery = hour\npause_on_failure = yes\n")
    runs(timed)
    runs(timed, hours=1)
    paused = timed.schedule("till")
    assert paused["health"] == "paused"
    assert "was discarded" in paused["paused_because"]
    assert paused["paused_because"] in timed.run("status").stdout
    timed.run("schedules", "resume", "till")
    assert timed.schedule("till")["paused_because"] is None


def test_environment_values_are_hidden(timed, monkeypatch):
    monkeypatch.setenv("REPORT_CRON", "17 3 * * *")
    monkeypatch.setenv("REPORT_EVERY", "17 minutes")
    monkeypatch.setenv("REPORT_OWNER", "kim@example.org")
    timed.declare(
        "[flowstone:schedule:till]\ncron = ${REPORT_CRON}\nmetadata =\n  owner = ${REPORT_OWNER}\n"
        "[flowstone:schedule:often]\nevery = ${REPORT_EVERY}\nasset = till\n",
    )
    for command in (
        ["check"],
        ["status"],
        ["schedules", "list"],
        ["schedules", "show", "till"],
        ["schedules", "show", "often"],
        ["schedules", "resume", "often"],
    ):
        said = timed.run(*command).output
        assert "17 3" not in said
        assert "17 minutes" not in said
        assert "kim@" not in said
    assert timed.schedule("till")["settings"]["metadata"] == {"owner": "***"}
    with Flowstone(config="setup.cfg") as flow:
        flow.schedules.update("till", metadata={"owners": ["kim@example.org"], "count": 1})
    assert timed.schedule("till")["settings"]["metadata"] == {"owners": ["***"], "count": 1}
    for command in (["status"], ["schedules", "list"], ["schedules", "show", "till"]):
        said = json.dumps(timed.json(*command))
        assert "17 3" not in said
        assert "17 minutes" not in said
        assert "kim@" not in said


def test_check_shows_declared_schedules(timed):
    timed.run("schedules", "add", "till", "--every", "day")
    table = timed.run("check").stdout.split("\n\n")[-1]
    rows = [[cell for cell in line.split("  ") if cell] for line in table.splitlines()]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["SCHEDULE", "ASSET", "FIRES", "IN WORDS", "TIME ZONE", "ENABLED", "SETTINGS"],
        ["raw_orders", "raw_orders", "every 15 minutes", "every 15 minutes", "UTC", "yes",
         "overlap=allow"],
        ["nightly", "daily_report", "cron 30 2 * * *", "At 02:30", "America/New_York", "yes",
         "jitter=1m30s"],
    ]  # fmt: skip


def test_check_names_every_invalid_line(timed):
    timed.declare(
        """
[flowstone:schedule:nightly]
asset = dayly_report
cron = 30 25 * 13 *
timezone = America/New_Yrok
catchup = some
cathup_window = 3d
partition = ${yeer}
partition_fn = nowhere:function
jitter = 1 hour
""",
    )
    lines = timed.run("check", code=2).stderr.splitlines()
    wrong = {
        5: "unknown asset 'dayly_report' (did you mean 'daily_report'?)",
        6: "month '13' is out of range",
        7: "did you mean 'America/New_York'?",
        8: "catchup: must be none, latest or all",
        9: "cathup_window: unknown setting (did you mean 'catchup_window'?)",
        10: "partition: unknown token ${yeer}",
        11: "partition_fn: no module named 'nowhere'",
        12: "'1 hour' is not a duration",
    }
    for number, text in wrong.items():
        found = [line for line in lines if f"setup.cfg:{number}: " in line and text in line]
        assert found, (number, lines)
    assert all("[flowstone:schedule:nightly]" in line for line in lines)


def test_status_counts_schedules(timed):
    timed.run("schedules", "pause", "nightly")
    text = timed.run("status").stdout
    assert "\nschedules: 1 ok, 1 paused\n" in text or "\nschedules: 1 paused, 1 ok\n" in text
    assert "SCHEDULE " not in text, "none of them needs a look"
    assert timed.json("status")["schedules"] == timed.json("schedules", "list")
