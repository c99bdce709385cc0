"""Secrets of the environment: hidden in logs, errors and rows, whatever asks for them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flowstone_core import Context
from flowstone_core.errors import NotFoundError
from tests import forked

PIPELINE = """
import os
from flowstone_core import Pipeline, Sensor, SensorConfig, Triggered, NotTriggered

pipeline = Pipeline("shop")


@pipeline.asset(max_attempts=1)
def by_name(context):
    context.logger.warning("asking with %s", os.environ["API_TOKEN"])
    raise RuntimeError(f"401 for {os.environ['API_TOKEN']} {os.environ['SHOP_KEY']}")


@pipeline.asset(max_attempts=1)
def by_setting(context):
    raise RuntimeError(f"no bucket {os.environ['SHOP_PLACE']}")


@pipeline.asset(max_attempts=1, run_in="RUN_IN")
def by_context(context):
    value = context.secret("SHOP_PIN")
    context.logger.warning("asking with %s", value, extra={"header": f"Basic {value}"})
    raise RuntimeError(f"401 for {value}")


@pipeline.asset(max_attempts=1, run_in="RUN_IN")
def metadata(context):
    return {"url": f"https://shop.example/?k={context.secret('SHOP_PIN')}", "rows": [1]}
"""
CONFIGURATION = """
[flowstone]
store = sqlite:///flowstone.db
pipelines = {module}:pipeline

[flowstone:sensor:shop]
type = webhook
asset = by_name
enabled = false
url = https://shop.example/
partition = '${{SHOP_PLACE}}'
"""
SECRETS = {
    "API_TOKEN": "tok-4711-Zq9xv7Kp",
    "SHOP_KEY": "kei-4711-Zq9xv7Kp",
    "SHOP_PLACE": "plc-4711-Zq9xv7Kp",
    "SHOP_PIN": "key-4711-Zq9xv7Kp",
}


@pytest.mark.parametrize("run_in", ["thread", "process"])
@pytest.mark.parametrize("asset", ["by_name", "by_setting", "by_context", "metadata"])
def test_N9_secret_of_the_environment_reaches_no_log_and_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_in: str, asset: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    module = f"secrets_{run_in}_{asset}"
    Path(f"{module}.py").write_text(PIPELINE.replace("RUN_IN", run_in))
    Path("flowstone.cfg").write_text(CONFIGURATION.format(module=module))
    commands = [
        ["materialize", asset, "eu"],
        ["--log-level", "debug", "run", "--once"],
        ["materializations", "list"],
        ["materializations", "show", "1", "--json"],
        ["status"],
    ]
    said = ""
    for command in commands:
        # A process of its own: child processes have the environment of the process's start.
        result = forked.run(["flowstone", *command], capture_output=True, text=True, timeout=300)
        assert "Traceback" not in result.stderr
        said += result.stdout + result.stderr
    assert "***" in said
    with sqlite3.connect("flowstone.db") as connection:
        rows = "\n".join(connection.iterdump())
    assert f"'{asset}'" in rows
    for name, value in SECRETS.items():
        assert value not in said, name
        assert value not in rows, name


def test_N9_context_returns_a_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[str] = []
    context = Context("orders", "eu", "r-1", _learn=known.append)
    monkeypatch.setenv("SHOP_PIN", "hunter2")
    assert context.secret("SHOP_PIN") == "hunter2"
    assert known == ["hunter2"]
    assert Context("orders", "eu", "r-1").secret("SHOP_PIN") == "hunter2"
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("SHOP_PIN")
        else:
            monkeypatch.setenv("SHOP_PIN", value)
        with pytest.raises(NotFoundError, match="environment variable SHOP_PIN is not set"):
            context.secret("SHOP_PIN")
