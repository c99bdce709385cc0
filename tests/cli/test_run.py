"""``flowstone run``: what its exit code says, and how it ends."""

import json
import signal

import pytest

SENSOR = """
pipeline.sensor("feed", ScriptedSensor, asset="raw_orders", script=Script([{step}]))
"""
ASSETS = """
import os, signal, threading
from flowstone_core import Discard, Pipeline, RetryLater, SensorBroken, Triggered
from flowstone_core.testing import Script, ScriptedSensor
pipeline = Pipeline("shop")

@pipeline.asset(max_attempts={max_attempts}, backoff="1h")
def raw_orders(context):
    {body}
"""


def write(shop, *, body="return None", step="Triggered('north', 1)", max_attempts=5, settings=""):
    pipeline = ASSETS.format(body=body, max_attempts=max_attempts) + SENSOR.format(step=step)
    shop.write(pipeline=pipeline, settings=settings)


def errors(result):
    lines = result.stderr.splitlines()
    return [line for line in lines if line.startswith(("error: ", "warning: "))]


def test_run_once_materializes_what_is_due_and_exits_0(shop):
    result = shop.run("run", "--once")
    assert result.stdout == ""
    assert errors(result) == []
    assert {row["state"] for row in shop.json("materializations", "list")} == {"completed"}


def test_a_failed_poll_exits_1(shop):
    write(shop, step="OSError('the feed is down')")
    said = errors(shop.run("run", "--once", code=1))
    assert said == ["error: sensor:feed, tick 1: OSError: the feed is down"]


def test_a_broken_sensor_exits_1(shop):
    write(shop, step="SensorBroken('gone for good')")
    assert errors(shop.run("run", "--once", code=1)) == [
        "error: sensor:feed, tick 1: gone for good"
    ]


def test_discarded_materialization_exits_1(shop):
    write(shop, body="raise Discard('no such day')")
    assert errors(shop.run("run", "--once", code=1)) == [
        "error: materialization 1 of raw_orders, discarded: no such day"
    ]


def test_failed_attempt_exits_1_before_its_retry(shop):
    write(shop, body="raise OSError('no disk')")
    assert errors(shop.run("run", "--once", code=1)) == [
        "error: materialization 1 of raw_orders, retrying: OSError: no disk"
    ]
    # It is not due yet, and nothing new failed.
    assert errors(shop.run("run", "--once")) == []


@pytest.mark.parametrize(
    "wish",
    [{"body": "raise RetryLater(3600)"}, {"step": "RetryLater(3600)"}],
    ids=["asset", "sensor"],
)
def test_retry_later_is_not_a_failure(shop, wish):
    write(shop, **wish)
    assert errors(shop.run("run", "--once")) == []


def test_failure_completed_by_the_same_run_exits_0(shop):
    body = "if context.attempt == 1: raise RetryLater(0)"
    write(shop, body=body)
    assert errors(shop.run("run", "--once")) == []
    assert shop.json("materializations", "list")[0]["state"] == "completed"


def test_failure_in_a_continuous_run_exits_0(shop):
    write(shop, step="OSError('down')")
    assert errors(shop.run("run", "--for", "0s")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--once", "--for", "1s"], "--once and --for exclude each other"),
        (["--for", "soon"], "'soon' is not a duration: use 30s"),
    ],
)
def test_wrong_use(shop, arguments, said):
    assert said in shop.run("run", *arguments, code=2).stderr


def test_configuration_warnings_are_printed(shop):
    shop.write(settings="store = sqlite:///x%y.db\n")
    assert errors(shop.run("run", "--once"))[0].startswith("warning: setup.cfg:3")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_run_gracefully(shop, number):
    process = shop.process("--log-format", "json", "run")
    for line in process.stderr:
        if json.loads(line)["event"] == "runner started":
            break
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0
    assert stdout == ""
    assert "runner stopped" in stderr
    assert "Traceback" not in stderr


def test_attempt_past_the_grace_time_exits_1(shop):
    body = "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"
    write(shop, body=body, settings="grace = 0s\n")
    process = shop.process("run")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "warning: grace time expired" in stderr
    assert shop.json("materializations", "list")[0]["state"] == "retrying"
    assert stdout == ""
