"""``flowstone schedules``, and what ``check`` and ``status`` say of schedules."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core import Flowstone, Trigger, ValidationError
from flowstone_core.app.status import ScheduleHealth
from flowstone_core.cli import main
from flowstone_core.cli.schedules import HEALTHS, SILENT
from flowstone_core.model.tick import SkipReason
from flowstone_core.scheduling.settings import Catchup, Overlap, ScheduleSettings
from flowstone_core.testing import FakeClock

SCHEDULES = """
pipeline.schedule("raw_orders", every="15 minutes", overlap="allow")

def boom(at):
    raise ValueError("no such day")

def give_up(context):
    raise Discard("the till is locked")
pipeline.asset(name="till")(give_up)
"""
SECTIONS = """
[flowstone:schedule:nightly]
asset = daily_report
cron = 30 2 * * *
timezone = America/New_York
jitter = 90s
"""
TRIGGER = """
from datetime import timedelta
from flowstone_core import Trigger, hookimpl

class Ticking(Trigger):
    def next_fire(self, after):
        return after + timedelta(hours=int(self.text))

@hookimpl
def flowstone_triggers():
    return {"ticking": Ticking}
"""


@pytest.fixture
def timed(shop):
    """The shop with a schedule in its pipeline, and one in its setup.cfg."""
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + SCHEDULES, settings=SECTIONS)
    return shop


@pytest.fixture
def clock():
    return FakeClock(datetime(2026, 1, 15, 12, 30, tzinfo=UTC))


@pytest.fixture
def runs(clock):
    """A function that lets time pass, and then has a runner do what there is to do, once."""

    def run(shop, hours=0.0):
        clock.advance(timedelta(hours=hours))
        with Flowstone(config=shop.folder / "setup.cfg", clock=clock) as flow:
            flow.run(once=True)

    return run


def schedule(shop, name):
    """Return what ``list`` says of one schedule."""
    found = [row for row in shop.json("schedules", "list") if row["name"] == name]
    assert len(found) == 1
    return found[0]


def declare(shop, settings):
    """Let setup.cfg declare other schedules."""
    (shop.folder / "setup.cfg").write_text(
        f"[flowstone]\npipelines = {shop.module}:pipeline\n{settings}"
    )


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


def test_the_table_of_schedules(timed):
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


def test_every_health_can_be_asked_for():
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


def test_a_schedule_that_has_not_fired_is_shown(timed):
    text = timed.run("schedules", "show", "nightly").stdout
    assert "\n  jitter:           1m30s\n" in text
    assert re.search(r"\nnext at:        [-0-9]{10} 02:30:00-0[45]:00\n", text)
    assert text.endswith("\nno ticks yet, except quiet ones\n")
    assert timed.json("schedules", "show", "nightly")["skips"] == []


def test_what_was_skipped_is_listed_with_the_reason(timed, runs, documented):
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


def test_T6_what_cannot_be_counted_is_at_least_so_many(timed, runs):
    declare(timed, "[flowstone:schedule:raw_orders]\nevery = 1s\n")
    runs(timed)
    runs(timed, hours=5)
    skip = timed.json("schedules", "skipped")[0]
    assert (skip["count"], skip["complete"]) == (1_000, False)
    assert "at least 1000" in timed.run("schedules", "skipped").stdout


def test_what_was_skipped_comes_in_pages(timed, runs):
    runs(timed)
    for _ in range(3):
        runs(timed, hours=1)
    assert [row["id"] for row in timed.json("schedules", "skipped", "--limit", "2")] == [3, 2]
    assert [row["id"] for row in timed.json("schedules", "skipped", "--before", "2")] == [1]


def test_every_reason_is_described():
    text = main.commands["schedules"].commands["skipped"].help
    reasons = text.split("Reasons: ")[1].split("Instants that one tick")[0]
    for reason in SkipReason:
        assert f"{reason}" in reasons


def test_the_history_of_a_removed_schedule_stays(timed, runs):
    declare(timed, "[flowstone:schedule:hourly]\nasset = till\nevery = hour\n")
    runs(timed)
    runs(timed, hours=3)
    declare(timed, "")
    timed.run("schedules", "remove", "hourly")
    assert [row["count"] for row in timed.json("schedules", "skipped", "hourly")] == [2]
    assert [row["key"] for row in timed.json("events", "list", "--source", "schedule:hourly")] == [
        "2026-01-15T15:00:00Z"
    ]


def test_a_schedule_is_added_where_none_is_declared(shop):
    assert shop.run("schedules", "list").stdout == "no schedules\n"
    said = shop.run("schedules", "add", "daily_report", "--cron", "@monthly").stdout
    assert said.startswith(
        "schedule daily_report is added: At 00:00, on day 1 of the month (UTC), next at 20"
    )
    added = schedule(shop, "daily_report")
    assert (added["origin"], added["health"]) == ("command", "ok")
    assert added["edited"] == [], "nothing lies under it"
    assert shop.run("check").stdout.endswith("no schedules\n"), "none is declared"


def test_a_schedule_with_all_settings_is_added(shop):
    shop.run(
        "schedules", "add", "raw_orders", "--name", "north", "--every", "monday at 08:00",
        "--timezone", "Europe/Warsaw", "--partition", "north-${year}", "--catchup", "all",
        "--catchup-window", "PT48H", "--overlap", "buffer_all", "--jitter", "10m",
        "--start", "2026-01-01", "--end", "2999-01-01T12:00+01:00", "--pause-on-failure",
        "--disabled", "--metadata", "owner = kim", "--metadata", "why=end of week",
    )  # fmt: skip
    added = schedule(shop, "north")
    assert added["health"] == "disabled"
    assert added["next_at"] is None
    assert added["settings"] == {
        "every": "monday at 08:00",
        "asset": "raw_orders",
        "timezone": "Europe/Warsaw",
        "partition": "north-${year}",
        "catchup": "all",
        "catchup_window": "2d",
        "overlap": "buffer_all",
        "jitter": "10m",
        "start": "2026-01-01T00:00:00",
        "end": "2999-01-01T12:00:00+01:00",
        "pause_on_failure": True,
        "enabled": False,
        "metadata": {"owner": "kim", "why": "end of week"},
    }
    shown = shop.run("schedules", "show", "north").stdout
    assert "\n  metadata:         owner = kim, why = end of week\n" in shown


def test_everything_that_is_wrong_is_said_at_once(shop):
    said = shop.run(
        "schedules", "add", "dayly_report", "--name", "x", "--cron", "61 * 32 * *",
        "--timezone", "Europe/Warszawa", "--partition", "${yeer}", "--catchup-window", "3",
        "--jitter", "2d", "--start", "soon", "--metadata", "no notes",
        code=2,
    ).stderr  # fmt: skip
    wrong = [
        "asset: unknown asset 'dayly_report' (did you mean 'daily_report'?)",
        " timezone: unknown time zone 'Europe/Warszawa': did you mean 'Europe/Warsaw'?",
        " partition: unknown token ${yeer}: did you mean 'year'?",
        " catchup_window: '3' is not a duration: use 30s",
        " jitter: 2d is out of bounds: use 0s to 1d",
        " start: invalid moment 'soon': use ISO 8601",
        " metadata: 'no notes' is not 'key = value'",
        " cron: minute: '61' is out of range; allowed are 0-59",
        " cron: day of month: '32' is out of range; allowed are 1-31 and L",
    ]
    lines = said.splitlines()
    assert len(lines) == len(wrong)
    for text in wrong:
        assert any(line.startswith("error: schedule 'x'") and text in line for line in lines), text
    assert shop.run("schedules", "list").stdout == "no schedules\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "schedule 'till': missing trigger (give exactly one of cron or every)"),
        (["--cron", "@daily", "--every", "day"], "several triggers: cron and every"),
        (["--catchup", "some"], "'some' is not one of 'none', 'latest', 'all'"),
        (["--trigger", "tickin", "3"], "unknown trigger 'tickin' (known: "),
        (["--trigger", "ever", "day"], "unknown trigger 'ever' (did you mean 'every'?)"),
        (["--trigger", "name", "day"], "unknown trigger 'name'"),
        (
            ["--trigger", "cron", "@daily", "--cron", "@daily"],
            "give either --trigger cron or --cron",
        ),
        (["--every", "day", "--metadata", "token=abc"], "'token' looks like a secret"),
        (["--every", "day", "--start", "2026-02-01", "--end", "2026-01-01"], "end: end 2026-01-01"),
        (["--every", "day", "--name", "a:b"], "'a:b'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_not_added(timed, options, said):
    refused = timed.run("schedules", "add", "till", *options, code=2)
    assert said in refused.stderr
    assert refused.stdout == ""
    assert len(timed.json("schedules", "list")) == 2


def test_without_a_configuration_there_is_nothing_to_add_it_for(empty_folder):
    refused = empty_folder.run("schedules", "add", "report", "--every", "day", code=2)
    assert "unknown asset 'report' (declared so far: none)" in refused.stderr


@pytest.mark.parametrize(
    ("name", "origin"),
    [("nightly", "(setup.cfg:4)"), ("raw_orders", ".py:29)"), ("own", "command")],
)
def test_a_name_that_is_taken_is_refused(timed, name, origin):
    timed.run("schedules", "add", "till", "--name", "own", "--every", "day")
    before = timed.json("schedules", "list")
    refused = timed.run("schedules", "add", "till", "--name", name, "--every", "hour", code=1)
    assert refused.stderr.startswith(f"error: there is already a schedule '{name}', for asset ")
    assert origin in refused.stderr
    assert "(update it, or give the new one a name of its own)" in refused.stderr
    assert timed.json("schedules", "list") == before


def test_single_settings_are_changed_and_the_others_stay(timed):
    said = timed.run("schedules", "update", "nightly", "--cron", "0 4 * * *", "--catchup", "all")
    assert said.stdout.startswith(
        "schedule nightly is changed: At 04:00 (America/New_York), next at "
    )
    changed = schedule(timed, "nightly")
    assert changed["edited"] == ["catchup", "cron"]
    assert changed["settings"] == {
        "cron": "0 4 * * *",
        "asset": "daily_report",
        "timezone": "America/New_York",
        "jitter": "1m30s",
        "catchup": "all",
    }
    table = timed.lines("schedules", "list")
    assert table[1][7] == "setup.cfg:4 (edited: catchup, cron)"
    assert "\nedited:         catchup, cron\n" in timed.run("schedules", "show", "nightly").stdout


def test_another_trigger_takes_the_place_of_the_first(timed):
    timed.run("schedules", "update", "nightly", "--every", "day at 02:30", "--asset", "raw_orders")
    changed = schedule(timed, "nightly")
    assert (changed["trigger"], changed["text"]) == ("every", "day at 02:30")
    assert changed["asset"] == "raw_orders"
    assert changed["edited"] == ["asset", "every"]
    assert "cron" not in changed["settings"]


def test_an_empty_text_takes_a_setting_away(shop):
    shop.run(
        "schedules", "add", "raw_orders", "--every", "day", "--partition", "x", "--start",
        "2999-01-01", "--end", "2999-02-01", "--metadata", "a=b",
    )  # fmt: skip
    shop.run(
        "schedules", "update", "raw_orders", "--partition", "", "--start", "", "--end", "",
        "--metadata", "",
    )  # fmt: skip
    settings = schedule(shop, "raw_orders")["settings"]
    assert {key: settings[key] for key in settings if key not in {"every", "asset"}} == {
        "partition": None,
        "start": None,
        "end": None,
        "metadata": {},
    }
    first = shop.json("schedules", "next", "raw_orders", "--after", "2026-01-01", "--count", "1")
    assert first[0]["partition"] == "d:2026-01-02"


def test_what_was_changed_lies_over_what_is_declared_setting_by_setting(timed, runs):
    timed.run("schedules", "update", "nightly", "--jitter", "5m")
    declare(timed, SECTIONS.replace("30 2", "45 5").replace("90s", "3m"))
    runs(timed)
    changed = schedule(timed, "nightly")
    assert changed["text"] == "45 5 * * *"
    assert changed["settings"]["jitter"] == "5m"
    reverted = timed.run("schedules", "update", "nightly", "--revert").stdout
    assert reverted.startswith("schedule nightly is as declared: At 05:45 (America/New_York), ")
    assert schedule(timed, "nightly")["settings"]["jitter"] == "3m"
    assert schedule(timed, "nightly")["edited"] == []


def test_what_was_added_by_command_cannot_be_reverted(timed):
    timed.run("schedules", "add", "till", "--every", "day")
    refused = timed.run("schedules", "update", "till", "--revert", code=1)
    assert "cannot revert schedule" in refused.stderr
    assert "flowstone schedules remove till" in refused.stderr


@pytest.mark.parametrize("options", [[], ["--revert", "--jitter", "5m"]], ids=str)
def test_an_update_changes_or_reverts(timed, options):
    refused = timed.run("schedules", "update", "nightly", *options, code=2)
    assert "give either settings to change or --revert" in refused.stderr


def test_a_wrong_update_changes_nothing(timed):
    before = timed.json("schedules", "list")
    refused = timed.run(
        "schedules", "update", "nightly", "--timezone", "Mars", "--cron", "99 * * * *", code=2
    )
    assert len(refused.stderr.splitlines()) == 2
    assert timed.json("schedules", "list") == before


def test_a_declared_schedule_is_not_removed_by_command(timed):
    refused = timed.run("schedules", "remove", "nightly", code=1)
    assert refused.stderr == (
        "error: cannot remove schedule 'nightly': it is declared at setup.cfg:4 "
        "(remove it there, or: flowstone schedules pause nightly)\n"
    )
    assert schedule(timed, "nightly")["health"] == "ok"


def test_an_added_schedule_is_removed(timed):
    timed.run("schedules", "add", "till", "--every", "day")
    assert timed.run("schedules", "remove", "till").stdout == "schedule till is removed\n"
    assert len(timed.json("schedules", "list")) == 2


def test_what_is_declared_no_more_is_shown_and_can_be_removed(timed, runs):
    runs(timed)
    declare(timed, "")
    assert schedule(timed, "nightly")["health"] == "undeclared"
    assert schedule(timed, "nightly")["next_at"] is None
    timed.run("schedules", "remove", "nightly")
    assert [row["name"] for row in timed.json("schedules", "list")] == ["raw_orders"]


def test_pause_and_resume(timed):
    assert timed.run("schedules", "pause", "nightly").stdout == "schedule nightly is paused\n"
    assert schedule(timed, "nightly")["health"] == "paused"
    assert schedule(timed, "nightly")["next_at"] is None
    said = timed.run("schedules", "resume", "nightly").stdout
    assert said.startswith("schedule nightly is resumed: At 02:30 (America/New_York), next at ")
    assert schedule(timed, "nightly")["health"] == "ok"


def test_what_came_while_it_was_paused_is_skipped(timed, runs, clock):
    runs(timed)
    with Flowstone(config="setup.cfg", clock=clock) as flow:
        flow.schedules.pause("raw_orders")
        clock.advance(timedelta(hours=1))
        flow.schedules.resume("raw_orders")
    runs(timed)
    skips = timed.json("schedules", "skipped")
    assert [(skip["reason"], skip["count"]) for skip in skips] == [("paused", 4)]
    assert timed.json("events", "list", "--source", "schedule:raw_orders") == []


@pytest.mark.parametrize(
    "command",
    [["show"], ["skipped"], ["update", "--jitter", "5m"], ["update", "--revert"], ["remove"],
     ["pause"], ["resume"], ["next"]],
    ids=" ".join,
)  # fmt: skip
def test_a_schedule_that_is_not_there(timed, command):
    refused = timed.run("schedules", *command, "nightli", code=1)
    assert refused.stderr == "error: unknown schedule 'nightli' (did you mean 'nightly'?)\n"


def test_a_trigger_of_a_plugin_is_named_and_missed_when_it_is_gone(shop):
    shop.install("flowstone-ticking", "ticking", TRIGGER)
    shop.run("schedules", "add", "raw_orders", "--trigger", "ticking", "36")
    added = schedule(shop, "raw_orders")
    assert (added["trigger"], added["text"], added["words"]) == ("ticking", "36", "36")
    shop.run("schedules", "update", "raw_orders", "--trigger", "ticking", "12")
    assert schedule(shop, "raw_orders")["settings"]["ticking"] == "12"
    (shop.folder / "flowstone_ticking-1.2.dist-info" / "entry_points.txt").unlink()
    broken = schedule(shop, "raw_orders")
    assert broken["health"] == "broken"
    assert "unknown trigger 'ticking'" in broken["error"]
    refused = shop.run("schedules", "next", "raw_orders", code=2)
    assert refused.stderr == ("error: unknown trigger 'ticking' (known: cron, every)\n")
    status = shop.run("status").stdout
    assert "\nschedules: 1 broken\nSCHEDULE " in status
    assert "\nraw_orders  broken  raw_orders  ticking 12 " in status


def test_a_function_of_another_process_is_missed(timed):
    with Flowstone(config="setup.cfg") as flow:
        flow.schedule("till", every="day", partition_fn=lambda: "x")
        assert flow.schedules.get("till").health == "ok"
    assert "partition_fn" in schedule(timed, "till")["error"]
    timed.run("schedules", "update", "till", "--partition", "${date}")
    assert schedule(timed, "till")["health"] == "ok"


def test_a_trigger_that_only_the_pipeline_has_is_shown_and_its_other_settings_are_changed(timed):
    source = (timed.folder / f"{timed.module}.py").read_text()
    own = TRIGGER + 'pipeline.schedule("till", trigger=Ticking("36", "Europe/Warsaw"))\n'
    timed.write(pipeline=source + own)
    timed.run("schedules", "update", "till", "--jitter", "5m")
    shown = schedule(timed, "till")
    assert (shown["trigger"], shown["text"], shown["timezone"]) == (
        "Ticking", "36", "Europe/Warsaw"
    )  # fmt: skip
    assert (shown["health"], shown["edited"]) == ("ok", ["jitter"])
    refused = timed.run("schedules", "update", "till", "--timezone", "UTC", code=2)
    assert "the trigger has its own time zone" in refused.stderr
    timed.run("schedules", "update", "till", "--every", "day")
    assert schedule(timed, "till")["settings"]["every"] == "day"
    timed.run("schedules", "update", "till", "--revert")
    assert schedule(timed, "till")["trigger"] == "Ticking"


def test_a_trigger_that_no_plugin_provides_cannot_be_kept(timed):
    own = type("Never", (Trigger,), {"next_fire": lambda self, after: None})
    with (
        Flowstone(config="setup.cfg") as flow,
        pytest.raises(ValidationError, match="must be one that a plugin provides"),
    ):
        flow.schedule("till", trigger=own("x"))
    assert len(timed.json("schedules", "list")) == 2


def test_the_next_instant_is_to_come_however_long_nobody_looked(timed, runs, clock):
    runs(timed)
    clock.advance(timedelta(days=3))
    with Flowstone(config="setup.cfg", clock=clock) as flow:
        found = flow.schedules.get("raw_orders").next_at
    assert found == datetime(2026, 1, 18, 12, 45, tzinfo=UTC)


def test_a_schedule_that_fails_says_why(timed, runs):
    section = f"[flowstone:schedule:till]\nevery = hour\npartition_fn = {timed.module}:boom\n"
    declare(timed, section)
    runs(timed)
    runs(timed, hours=1)
    failing = schedule(timed, "till")
    assert (failing["health"], failing["failures"]) == ("failing", 1)
    assert failing["error"] == "ValueError: no such day"
    status = timed.run("status").stdout
    assert "\nschedules: 1 ok, 1 failing\n" in status or "1 failing, 1 ok\n" in status
    assert "ValueError: no such day" in status
    assert timed.json("events", "list", "--source", "schedule:till") == []


def test_a_schedule_that_a_failure_paused_says_why(timed, runs):
    declare(timed, "[flowstone:schedule:till]\nevery = hour\npause_on_failure = yes\n")
    runs(timed)
    runs(timed, hours=1)
    paused = schedule(timed, "till")
    assert paused["health"] == "paused"
    assert "was discarded" in paused["paused_because"]
    assert paused["paused_because"] in timed.run("status").stdout
    timed.run("schedules", "resume", "till")
    assert schedule(timed, "till")["paused_because"] is None


def test_the_environment_is_not_shown(timed, monkeypatch):
    monkeypatch.setenv("REPORT_CRON", "17 3 * * *")
    monkeypatch.setenv("REPORT_EVERY", "17 minutes")
    monkeypatch.setenv("REPORT_OWNER", "kim@example.org")
    declare(
        timed,
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
    assert schedule(timed, "till")["settings"]["metadata"] == {"owner": "***"}
    with Flowstone(config="setup.cfg") as flow:
        flow.schedules.update("till", metadata={"owners": ["kim@example.org"], "count": 1})
    assert schedule(timed, "till")["settings"]["metadata"] == {"owners": ["***"], "count": 1}
    for command in (["status"], ["schedules", "list"], ["schedules", "show", "till"]):
        said = json.dumps(timed.json(*command))
        assert "17 3" not in said
        assert "17 minutes" not in said
        assert "kim@" not in said


def test_check_shows_what_is_declared(timed):
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


def test_check_names_every_wrong_line_of_a_section(timed):
    declare(
        timed,
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
        6: "month: '13' is out of range",
        7: "did you mean 'America/New_York'?",
        8: "catchup: Input should be 'none', 'latest' or 'all'",
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
