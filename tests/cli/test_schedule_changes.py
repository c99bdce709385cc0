"""``flowstone schedules`` add, update, remove, pause and resume."""

from datetime import timedelta

import pytest

from flowstone_core import Flowstone, Trigger, ValidationError

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


def test_first_schedule_is_added(shop):
    assert shop.run("schedules", "list").stdout == "no schedules\n"
    said = shop.run("schedules", "add", "daily_report", "--cron", "@monthly").stdout
    assert said.startswith(
        "schedule daily_report is added: At 00:00, on day 1 of the month (UTC), next at 20"
    )
    added = shop.schedule("daily_report")
    assert (added["origin"], added["health"]) == ("command", "ok")
    assert added["edited"] == [], "nothing lies under it"
    assert shop.run("check").stdout.endswith("no schedules\n"), "none is declared"


def test_schedule_with_all_settings_is_added(shop):
    shop.run(
        "schedules", "add", "raw_orders", "--name", "north", "--every", "monday at 08:00",
        "--timezone", "Europe/Warsaw", "--partition", "north-${year}", "--catchup", "all",
        "--catchup-window", "PT48H", "--overlap", "buffer_all", "--jitter", "10m",
        "--start", "2026-01-01", "--end", "2999-01-01T12:00+01:00", "--pause-on-failure",
        "--disabled", "--metadata", "owner = kim", "--metadata", "why=end of week",
    )  # fmt: skip
    added = shop.schedule("north")
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


def test_invalid_options_are_reported_together(shop):
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
        " cron: invalid cron expression: minute '61' is out of range; allowed are 0-59",
        " cron: invalid cron expression: day of month '32' is out of range; allowed are 1-31 and L",
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
def test_invalid_schedule_is_not_added(timed, options, said):
    refused = timed.run("schedules", "add", "till", *options, code=2)
    assert said in refused.stderr
    assert refused.stdout == ""
    assert len(timed.json("schedules", "list")) == 2


def test_add_without_a_configuration_is_refused(empty_folder):
    refused = empty_folder.run("schedules", "add", "report", "--every", "day", code=2)
    assert "unknown asset 'report' (declared so far: none)" in refused.stderr


@pytest.mark.parametrize(
    ("name", "origin"),
    [("nightly", "(setup.cfg:4)"), ("raw_orders", ".py:29)"), ("own", "command")],
)
def test_duplicate_name_is_refused(timed, name, origin):
    timed.run("schedules", "add", "till", "--name", "own", "--every", "day")
    before = timed.json("schedules", "list")
    refused = timed.run("schedules", "add", "till", "--name", name, "--every", "hour", code=1)
    assert refused.stderr.startswith(f"error: duplicate schedule '{name}', for asset ")
    assert origin in refused.stderr
    assert "(update the schedule, or give the new one another name)" in refused.stderr
    assert timed.json("schedules", "list") == before


def test_update_changes_one_setting_and_keeps_others(timed):
    said = timed.run("schedules", "update", "nightly", "--cron", "0 4 * * *", "--catchup", "all")
    assert said.stdout.startswith(
        "schedule nightly is changed: At 04:00 (America/New_York), next at "
    )
    changed = timed.schedule("nightly")
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


def test_update_replaces_the_trigger(timed):
    timed.run("schedules", "update", "nightly", "--every", "day at 02:30", "--asset", "raw_orders")
    changed = timed.schedule("nightly")
    assert (changed["trigger"], changed["text"]) == ("every", "day at 02:30")
    assert changed["asset"] == "raw_orders"
    assert changed["edited"] == ["asset", "every"]
    assert "cron" not in changed["settings"]


def test_empty_text_removes_a_setting(shop):
    shop.run(
        "schedules", "add", "raw_orders", "--every", "day", "--partition", "x", "--start",
        "2999-01-01", "--end", "2999-02-01", "--metadata", "a=b",
    )  # fmt: skip
    shop.run(
        "schedules", "update", "raw_orders", "--partition", "", "--start", "", "--end", "",
        "--metadata", "",
    )  # fmt: skip
    settings = shop.schedule("raw_orders")["settings"]
    assert {key: settings[key] for key in settings if key not in {"every", "asset"}} == {
        "partition": None,
        "start": None,
        "end": None,
        "metadata": {},
    }
    first = shop.json("schedules", "next", "raw_orders", "--after", "2026-01-01", "--count", "1")
    assert first[0]["partition"] == "d:2026-01-02"


def test_update_overrides_single_settings_of_a_declaration(timed, runs):
    timed.run("schedules", "update", "nightly", "--jitter", "5m")
    file = timed.folder / "setup.cfg"
    file.write_text(file.read_text().replace("30 2", "45 5").replace("90s", "3m"))
    runs(timed)
    changed = timed.schedule("nightly")
    assert changed["text"] == "45 5 * * *"
    assert changed["settings"]["jitter"] == "5m"
    reverted = timed.run("schedules", "update", "nightly", "--revert").stdout
    assert reverted.startswith("schedule nightly is as declared: At 05:45 (America/New_York), ")
    assert timed.schedule("nightly")["settings"]["jitter"] == "3m"
    assert timed.schedule("nightly")["edited"] == []


def test_added_schedule_cannot_be_reverted(timed):
    timed.run("schedules", "add", "till", "--every", "day")
    refused = timed.run("schedules", "update", "till", "--revert", code=1)
    assert "cannot revert schedule" in refused.stderr
    assert "flowstone schedules remove till" in refused.stderr


@pytest.mark.parametrize("options", [[], ["--revert", "--jitter", "5m"]], ids=str)
def test_update_needs_settings_or_revert(timed, options):
    refused = timed.run("schedules", "update", "nightly", *options, code=2)
    assert "give either settings to change or --revert" in refused.stderr


def test_invalid_update_changes_nothing(timed):
    before = timed.json("schedules", "list")
    refused = timed.run(
        "schedules", "update", "nightly", "--timezone", "Mars", "--cron", "99 * * * *", code=2
    )
    assert len(refused.stderr.splitlines()) == 2
    assert timed.json("schedules", "list") == before


def test_declared_schedule_is_not_removed(timed):
    refused = timed.run("schedules", "remove", "nightly", code=1)
    assert refused.stderr == (
        "error: cannot remove schedule 'nightly': it is declared at setup.cfg:4 "
        "(remove it there, or: flowstone schedules pause nightly)\n"
    )
    assert timed.schedule("nightly")["health"] == "ok"


def test_added_schedule_is_removed(timed):
    timed.run("schedules", "add", "till", "--every", "day")
    assert timed.run("schedules", "remove", "till").stdout == "schedule till is removed\n"
    assert len(timed.json("schedules", "list")) == 2


def test_undeclared_schedule_is_shown_and_can_be_removed(timed, runs):
    runs(timed)
    timed.declare("")
    assert timed.schedule("nightly")["health"] == "undeclared"
    assert timed.schedule("nightly")["next_at"] is None
    timed.run("schedules", "remove", "nightly")
    assert [row["name"] for row in timed.json("schedules", "list")] == ["raw_orders"]


def test_pause_and_resume(timed):
    assert timed.run("schedules", "pause", "nightly").stdout == "schedule nightly is paused\n"
    assert timed.schedule("nightly")["health"] == "paused"
    assert timed.schedule("nightly")["next_at"] is None
    said = timed.run("schedules", "resume", "nightly").stdout
    assert said.startswith("schedule nightly is resumed: At 02:30 (America/New_York), next at ")
    assert timed.schedule("nightly")["health"] == "ok"


def test_resume_skips_instants_of_the_pause(timed, runs, clock):
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
def test_unknown_schedule_exits_1(timed, command):
    refused = timed.run("schedules", *command, "nightli", code=1)
    assert refused.stderr == "error: unknown schedule 'nightli' (did you mean 'nightly'?)\n"


def test_missing_plugin_trigger_is_named(shop):
    shop.install("flowstone-ticking", "ticking", TRIGGER)
    shop.run("schedules", "add", "raw_orders", "--trigger", "ticking", "36")
    added = shop.schedule("raw_orders")
    assert (added["trigger"], added["text"], added["words"]) == ("ticking", "36", "36")
    shop.run("schedules", "update", "raw_orders", "--trigger", "ticking", "12")
    assert shop.schedule("raw_orders")["settings"]["ticking"] == "12"
    (shop.folder / "flowstone_ticking-1.2.dist-info" / "entry_points.txt").unlink()
    broken = shop.schedule("raw_orders")
    assert broken["health"] == "broken"
    assert "unknown trigger 'ticking'" in broken["error"]
    refused = shop.run("schedules", "next", "raw_orders", code=2)
    assert refused.stderr == ("error: unknown trigger 'ticking' (known: cron, every)\n")
    status = shop.run("status").stdout
    assert "\nschedules: 1 broken\nSCHEDULE " in status
    assert "\nraw_orders  broken  raw_orders  ticking 12 " in status


def test_partition_fn_of_another_process_is_missing(timed):
    with Flowstone(config="setup.cfg") as flow:
        flow.schedule("till", every="day", partition_fn=lambda: "x")
        assert flow.schedules.get("till").health == "ok"
    assert "partition_fn" in timed.schedule("till")["error"]
    timed.run("schedules", "update", "till", "--partition", "${date}")
    assert timed.schedule("till")["health"] == "ok"


def test_own_trigger_is_shown_and_other_settings_change(timed):
    source = (timed.folder / f"{timed.module}.py").read_text()
    own = TRIGGER + 'pipeline.schedule("till", trigger=Ticking("36", "Europe/Warsaw"))\n'
    timed.write(pipeline=source + own)
    timed.run("schedules", "update", "till", "--jitter", "5m")
    shown = timed.schedule("till")
    assert (shown["trigger"], shown["text"], shown["timezone"]) == (
        "Ticking", "36", "Europe/Warsaw"
    )  # fmt: skip
    assert (shown["health"], shown["edited"]) == ("ok", ["jitter"])
    refused = timed.run("schedules", "update", "till", "--timezone", "UTC", code=2)
    assert "the trigger has its own time zone" in refused.stderr
    timed.run("schedules", "update", "till", "--every", "day")
    assert timed.schedule("till")["settings"]["every"] == "day"
    timed.run("schedules", "update", "till", "--revert")
    assert timed.schedule("till")["trigger"] == "Ticking"


def test_own_trigger_cannot_be_stored(timed):
    own = type("Never", (Trigger,), {"next_fire": lambda self, after: None})
    with (
        Flowstone(config="setup.cfg") as flow,
        pytest.raises(ValidationError, match="must be one that a plugin provides"),
    ):
        flow.schedule("till", trigger=own("x"))
    assert len(timed.json("schedules", "list")) == 2
