"""``flowstone sensors`` and ``flowstone status``."""

import json
import re

import pytest
from click.testing import CliRunner

from flowstone_core.app.status import SensorHealth
from flowstone_core.cli import main
from flowstone_core.cli.sensors import HEALTHS

OTHERS = """
pipeline.sensor("down", ScriptedSensor, asset="raw_orders", every="1s",
                script=[OSError("no\\nway" + "!" * 200)])
pipeline.sensor("off", ScriptedSensor, asset="daily_report", enabled=False)
pipeline.sensor("elsewhere", ScriptedSensor, script=[Triggered("x", 1)])
pipeline.sensor("later", ScriptedSensor, script=[RetryLater(90, "busy")])
"""


@pytest.fixture
def sensors(shop):
    """A sensor that does well, and others that do not."""
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + OTHERS)
    return shop


def state_of(shop, name):
    return shop.json("sensors", "show", name)["state"]


def test_sensors_are_listed_with_their_health(sensors, documented):
    sensors.run("run", "--once", code=1)
    rows = sensors.json("sensors", "list")
    assert set(rows[0]) == documented("sensors", "list")
    assert {row["name"]: row["health"] for row in rows} == {
        "down": "failing",
        "elsewhere": "failing",
        "feed": "ok",
        "later": "new",
        "off": "disabled",
    }
    assert next(row for row in rows if row["name"] == "feed")["every"] == 1.0
    table = sensors.lines("sensors", "list")
    assert table[0] == ["SENSOR", "HEALTH", "TYPE", "ASSET", "EVERY", "LAST TICK", "OUTCOME",
                        "FAILURES", "ERROR"]  # fmt: skip
    assert table[1][:5] == ["down", "failing", "ScriptedSensor", "raw_orders", "1s"]
    assert table[1][8].startswith("OSError: no way!!!")
    assert table[1][8].endswith("!" * 200)


def test_sensors_can_be_filtered(sensors):
    assert [row["name"] for row in sensors.json("sensors", "list", "--health", "disabled")] == [
        "off"
    ]
    assert [row["name"] for row in sensors.json("sensors", "list", "--asset", "raw_orders")] == [
        "down",
        "feed",
    ]
    assert sensors.run("sensors", "list", "--health", "broken").stdout == "no sensors\n"


def test_health_option_accepts_every_health():
    assert set(HEALTHS) == set(SensorHealth)


def test_sensor_is_shown_with_settings_state_and_ticks(made):
    text = made.run("sensors", "show", "feed").stdout
    assert "name:         feed\nhealth:       ok\n" in text
    assert 'state:        {"seen":2}\n' in text
    assert "\n  deadline:         1m\n" in text
    assert "\nTICK  AT " in text
    shown = made.json("sensors", "show", "feed")
    assert shown["state"] == {"seen": 2}
    assert shown["settings"]["every"] == "1s"
    assert [tick["events"] for tick in shown["ticks"]] == [2]


def test_an_error_is_shown_whole(sensors):
    sensors.run("run", "--once", code=1)
    text = sensors.run("sensors", "show", "down").stdout
    assert "last error:   OSError: no\n              way" + "!" * 200 in text


def test_long_state_is_cut_in_tables_only(shop):
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + "pipeline.sensor('long', ScriptedSensor, initial='x' * 1000)\n")
    shop.run("run", "--once")
    assert "… (1,002 characters; --json has all)" in shop.run("sensors", "show", "long").stdout
    assert state_of(shop, "long") == "x" * 1000


def test_undeclared_sensor_is_shown(made):
    (made.folder / "setup.cfg").write_text("[flowstone]\n")
    text = made.run("sensors", "show", "feed").stdout
    assert "health:       undeclared\n" in text
    assert "settings:" not in text


def test_dry_run_shows_a_tick_and_commits_nothing(shop):
    text = shop.run("sensors", "poll", "feed", "--dry-run").stdout
    assert "outcome:      triggered\n" in text
    assert re.search(r"^took: +\d+\.\d{3} s$", text, re.MULTILINE)
    assert "state before" not in text, "it begins anew"
    assert 'new state:    {"seen":2}\n' in text
    assert "Nothing was committed." in text
    rows = [line.split() for line in text.splitlines()]
    assert ["raw_orders", "2025-01-13", "monday", '{"file":', '"a.csv"}'] in rows
    assert shop.run("events", "list").stdout == "no events\n"
    assert state_of(shop, "feed") is None


def test_a_dry_run_as_json(made):
    made.run("sensors", "reset", "feed", "--yes")
    # In this process the script has been played already.
    process = made.process("sensors", "poll", "feed", "--dry-run", "--json")
    stdout, stderr = process.communicate()
    assert stderr == ""
    shown = json.loads(stdout)
    assert shown == {
        "sensor": "feed",
        "outcome": "triggered",
        "error": None,
        "reason": None,
        "delay": None,
        "duration": shown["duration"],
        "events": [
            {
                "asset": "raw_orders",
                "partition": "d:2025-01-13",
                "partition_shown": "2025-01-13",
                "key": "monday",
                "payload": {"file": "a.csv"},
            },
            {
                "asset": "raw_orders",
                "partition": shown["events"][1]["partition"],
                "partition_shown": "north\\u202e",
                "key": shown["events"][1]["key"],
                "payload": None,
            },
        ],
        "skipped": [],
        "state_before": None,
        "state": {"seen": 2},
    }
    assert 0 <= shown["duration"] < 60


def test_quiet_dry_run_shows_the_unchanged_state(made):
    shown = made.json("sensors", "poll", "feed", "--dry-run")
    assert shown["outcome"] == "not_triggered"
    assert shown["state"] == {"seen": 2}
    assert shown["events"] == []


@pytest.fixture
def counter(empty_folder):
    """A sensor that adds one to its state at each poll."""
    empty_folder.write(
        """
from flowstone_core import Pipeline, Triggered, function_sensor

pipeline = Pipeline("shop")

@pipeline.asset
def raw_orders(context): ...

@function_sensor(initial={"n": 0})
def counts(state):
    return Triggered(f"n{state['n']}", {"n": state["n"] + 1})

pipeline.sensor("counter", counts, asset="raw_orders")
"""
    )
    return empty_folder


@pytest.mark.parametrize("stored", [False, True])
def test_dry_run_starts_from_the_given_state(counter, stored):
    if stored:
        counter.run("run", "--once")
    given = ["--state", '{ "n" : 41 }']
    shown = counter.json("sensors", "poll", "counter", "--dry-run", *given)
    assert [event["partition_shown"] for event in shown["events"]] == ["n41"]
    assert (shown["state_before"], shown["state"]) == ({"n": 41}, {"n": 42})
    text = counter.run("sensors", "poll", "counter", "--dry-run", *given).stdout
    assert 'state before: {"n":41}\nnew state:    {"n":42}\n' in text
    assert state_of(counter, "counter") == ({"n": 1} if stored else None)


def test_state_is_read_from_a_file(counter):
    (counter.folder / "state.json").write_text('{"n": 7}')
    shown = counter.json("sensors", "poll", "counter", "--dry-run", "--state", "@state.json")
    assert shown["state_before"] == {"n": 7}
    missing = counter.run("sensors", "poll", "counter", "--dry-run", "--state", "@no.json", code=2)
    assert "cannot read no.json" in missing.stderr


@pytest.mark.parametrize(
    ("state", "said"), [("{n: 1}", "the state is not JSON: "), ("[NaN]", "is not JSON: ")]
)
def test_invalid_state_is_refused(counter, state, said):
    refused = counter.run("sensors", "poll", "counter", "--dry-run", "--state", state, code=2)
    assert said in refused.stderr


def test_failed_dry_run_exits_1(sensors):
    result = sensors.run("sensors", "poll", "down", "--dry-run", code=1)
    assert "outcome:      failed\nerror:        OSError: no\n              way!" in result.stdout
    unable = sensors.run("sensors", "poll", "elsewhere", "--dry-run", code=1)
    assert "names no asset" in unable.stdout
    later = sensors.json("sensors", "poll", "later", "--dry-run")
    assert (later["outcome"], later["delay"], later["error"]) == ("retry_later", 90.0, "busy")


def test_X11_poll_without_dry_run_says_what_polls_and_what_to_add(shop):
    result = shop.run("sensors", "poll", "feed", code=2)
    assert "'flowstone run' polls sensors" in result.stderr
    assert "to see what this one would find, add --dry-run" in result.stderr
    assert not (shop.folder / "flowstone.db").exists()


def test_pause_resume_and_reset(made):
    assert made.run("sensors", "pause", "feed").stdout == "sensor feed is paused\n"
    assert made.json("sensors", "list")[0]["health"] == "paused"
    assert made.run("sensors", "resume", "feed").stdout == "sensor feed is resumed\n"
    assert made.json("sensors", "list")[0]["health"] == "ok"
    assert made.run("sensors", "reset", "feed", "--yes").stdout == "sensor feed is reset\n"
    assert state_of(made, "feed") is None


@pytest.mark.parametrize(("options", "events"), [([], 2), (["--forget-keys"], 4)])
def test_reset_sensor_fires_again_only_without_its_keys(made, options, events):
    made.run("sensors", "reset", "feed", "--yes", *options)
    process = made.process("run", "--once")
    process.communicate()
    assert process.returncode == 0
    assert len(made.json("events", "list", "--source", "sensor:feed")) == events


@pytest.mark.parametrize(
    "command",
    [["show"], ["pause"], ["resume"], ["reset", "--yes"], ["poll", "--dry-run"]],
    ids=lambda command: command[0],
)
def test_unknown_sensor_exits_1(shop, command):
    result = shop.run("sensors", *command, "fed", code=1)
    assert result.stderr == "error: unknown sensor 'fed' (did you mean 'feed'?)\n"


def test_N12_reset_says_what_fires_again_and_asks(shop):
    shop.run("run", "--once")
    before = shop.json("sensors", "show", "feed")["state"]
    result = shop.run("sensors", "reset", "feed", code=1)
    assert "sensor feed forgets its state and starts again from the beginning." in result.stdout
    assert "fires again, except events with a key that it has fired within" in result.stdout
    assert "The last event: raw_orders" in result.stdout
    assert "reset sensor feed? [y/N]" in result.stdout
    assert shop.json("sensors", "show", "feed")["state"] == before
    result = shop.run("sensors", "reset", "feed", "--forget-keys", code=1)
    assert "fires again: the keys of its events are forgotten" in result.stdout
    answered = CliRunner().invoke(main, ["sensors", "reset", "feed"], input="y\n")
    assert answered.exit_code == 0, answered
    assert shop.json("sensors", "show", "feed")["state"] is None


def test_N12_reset_of_a_sensor_that_never_fired_says_so(shop):
    assert "It has not fired yet" in shop.run("sensors", "reset", "feed", code=1).stdout
    shop.write(settings="[flowstone:sensor:feed]\nfirst_poll = baseline\n")
    assert "is recorded and does not fire" in shop.run("sensors", "reset", "feed", code=1).stdout


def test_status_at_a_glance(sensors):
    sensors.run("run", "--once", code=1)
    text = sensors.run("status").stdout
    head, runners, health, schedules, made = text.split("\n\n")
    assert head == "store: sqlite:///flowstone.db"
    assert runners == "no runner is alive"
    counts, _, *unwell = health.splitlines()
    assert counts == "sensors: 2 failing, 1 ok, 1 new, 1 disabled"
    assert [line.split()[0] for line in unwell] == ["down", "elsewhere"]
    assert schedules == "schedules: none"
    assert made == "materializations: 4 completed\n"


def test_status_lists_no_healthy_sensor(made):
    assert (
        "sensors: 1 ok\n\nschedules: none\n\nmaterializations: 4 completed\n"
        in made.run("status").stdout
    )


def test_status_of_an_empty_store(empty_folder):
    text = empty_folder.run("status").stdout
    assert "sensors: none\n\nschedules: none\n\nmaterializations: none\n" in text


def test_status_shows_who_runs(shop):
    process = shop.process("run")
    for line in process.stderr:
        if "runner started" in line:
            break
    table = shop.run("status").stdout.split("\n\n")[1].splitlines()
    shown = shop.json("status")
    process.terminate()
    process.communicate()
    assert table[0].split()[:2] == ["RUNNER", "ON"]
    assert str(process.pid) in table[1].split()
    assert [runner["pid"] for runner in shown["runners"]] == [process.pid]
    assert set(shown) == {
        "store", "runners", "sensors", "schedules", "backfills", "materializations",
        "oldest_due", "clock_offset",
    }  # fmt: skip
    assert set(shown["materializations"]) == {
        "pending", "running", "retrying", "completed", "discarded", "cancelled"
    }  # fmt: skip
