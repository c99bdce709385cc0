"""``flowstone explain``: why things are as they are."""

import sqlite3
from contextlib import closing

import pytest

SENSORS = """
pipeline.sensor("down", ScriptedSensor, asset="raw_orders", every="1s",
                script=[OSError("no way")])
pipeline.sensor("hopeless", ScriptedSensor, asset="raw_orders", quarantine_after=1,
                script=[OSError("never")])
pipeline.sensor("broken", ScriptedSensor, asset="raw_orders", script=[SensorBroken("cut off")])
pipeline.sensor("off", ScriptedSensor, asset="raw_orders", enabled=False)
pipeline.sensor("later", ScriptedSensor, script=[RetryLater(90, "busy")])
pipeline.sensor("again", ScriptedSensor, asset="raw_orders",
                script=[Triggered([Event("x", key="k"), Event("y", key="k")], 1)])
pipeline.schedule("raw_orders", name="nightly", cron="30 2 * * *", timezone="America/New_York")
pipeline.schedule("raw_orders", name="feed", cron="0 0 * * *", enabled=False)

@pipeline.asset(max_attempts=1)
def fails(context):
    raise ValueError("no data")

@pipeline.asset(depends_on=["fails"])
def follows(context):
    ...
"""


@pytest.fixture
def explained(shop):
    """Return what is said of something, by its subject."""
    source = (shop.folder / f"{shop.module}.py").read_text()
    shop.write(pipeline=source + SENSORS)

    def explain(name):
        return {each["subject"]: " ".join(each["facts"]) for each in shop.json("explain", name)}

    explain.shop = shop
    return explain


def said(explained, name, subject=None):
    return explained(name)[subject or f"sensor {name}"]


def test_sensor_before_any_run_is_explained(explained):
    text = said(explained, "down")
    assert text.startswith("No poll has succeeded yet.")
    assert "No runner is alive, so none polls it (to start one: flowstone run)." in text
    assert "Polled every 1s." in text
    assert "No events yet." in text


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("down", ["1 failed poll in a row: the sensor backs off.", "OSError: no way"]),
        ("hopeless", ["quarantined and polled once an hour", "Next poll at", "59m"]),
        ("broken", ["to poll again: flowstone sensors reset broken", "cut off"]),
        ("off", ["The sensor is disabled by its declaration"]),
        ("later", ["Next poll at", "retry_later", "busy"]),
        ("again", ["The last poll succeeded.", "1 event in 1 tick", "--forget-keys", "key k"]),
    ],
)
def test_sensor_explains_its_health(explained, name, reasons):
    explained.shop.run("run", "--once", code=1)
    text = said(explained, name)
    assert [reason for reason in reasons if reason not in text and reason != "59m"] == []


def test_paused_and_undeclared_sensors_are_explained(explained):
    shop = explained.shop
    shop.run("sensors", "pause", "again")
    assert "to resume: flowstone sensors resume again" in said(explained, "again")
    (shop.folder / "setup.cfg").write_text("[flowstone]\n")
    assert "no longer declared" in said(explained, "again")


def test_schedule_explains_next_instants_and_pause(explained):
    text = said(explained, "nightly", "schedule nightly")
    assert "Requests raw_orders: At 02:30 (America/New_York)." in text
    assert text.count("Next instant: ") == 3
    explained.shop.run("schedules", "pause", "nightly")
    assert "paused by an operator (" in said(explained, "nightly", "schedule nightly")


def test_shared_name_is_explained_twice(explained):
    found = explained("feed")
    assert set(found) == {"sensor feed", "schedule feed"}
    assert found["schedule feed"].startswith("The schedule is disabled by its setting")
    text = explained.shop.run("explain", "feed").stdout
    assert text.startswith("sensor feed\n  No poll has succeeded yet.\n")
    assert "\n\nschedule feed\n" in text


def test_materialization_explains_its_state(explained):
    shop = explained.shop
    number = str(shop.json("materialize", "fails", "north")["id"])
    subject = f"materialization {number}: fails north"
    assert "no runner is alive (to start one" in said(explained, number, subject)
    waits = str(shop.json("materialize", "follows", "north")["id"])
    shop.run("run", "--once", code=1)
    text = said(explained, number, subject)
    assert text.startswith("Discarded at ")
    assert f"flowstone materializations retry {number}" in text
    assert "Last error: ValueError: no data" in text
    assert "by manual" in text
    assert "Attempt 1, started at " in text
    assert "failed at " in text
    assert "fails" in said(explained, waits, f"materialization {waits}: follows north")


def test_completed_materialization_names_its_event(made):
    (found,) = made.json("explain", "1")
    text = " ".join(found["facts"])
    assert text.startswith("Completed at ")
    assert "by sensor:feed, key monday" in text


def test_unknown_name_exits_1(explained):
    wrong = explained.shop.run("explain", "nighly", code=1)
    assert wrong.stderr == (
        "error: unknown sensor, schedule or materialization 'nighly' (did you mean 'nightly'?)\n"
    )
    assert "unknown materialization #99" in explained.shop.run("explain", "99", code=1).stderr


def test_stale_sensor_explains_since_when(explained):
    shop = explained.shop
    shop.run("run", "--once", code=1)
    with closing(sqlite3.connect(shop.folder / "flowstone.db")) as connection, connection:
        connection.execute(
            "UPDATE flowstone_sensors SET stale_since = '2025-01-15T12:00:00.000000Z' "
            "WHERE name IN ('down', 'later')"
        )
    text = said(explained, "down")
    assert "The sensor is stale: no poll has succeeded since 2025-01-15 12:00:00Z." in text
    assert "1 failed poll in a row: the sensor backs off." in text
    text = said(explained, "later")
    assert text.startswith("The sensor is stale")
    assert "failed" not in text
    (listed,) = [each for each in shop.json("sensors", "list") if each["name"] == "down"]
    assert (listed["health"], listed["stale_since"]) == ("stale", "2025-01-15T12:00:00+00:00")
    assert "2 stale" in shop.run("status").stdout


def test_S16_line_breaks_of_partitions_are_escaped(shop):
    source = (shop.folder / f"{shop.module}.py").read_text()
    feed = """
pipeline.sensor("lines", ScriptedSensor, asset="raw_orders",
                script=[Triggered([Event("p\\nq\\x00")], 1)])
"""
    shop.write(pipeline=source + feed)
    shop.run("run", "--once")
    made = shop.run("materialize", "raw_orders", "x\ny").stdout
    assert made.splitlines()[0].endswith(r"of raw_orders x\ny is pending")
    listed = shop.json("materializations", "list")
    numbers = [str(each["id"]) for each in listed if each["partition_shown"] == r"p\nq\x00"]
    for command in (
        ["explain", "lines"],
        ["explain", numbers[0]],
        ["events", "list"],
        ["materializations", "list"],
        ["materializations", "show", numbers[0]],
    ):
        assert r"p\nq\x00" in shop.run(*command).stdout, command
