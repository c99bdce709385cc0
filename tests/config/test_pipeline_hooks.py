"""Hook implementations in the module of a pipeline: called like those of a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone_core import Flowstone, Pipeline, ValidationError, hookimpl
from flowstone_core.plugin.pipeline_hooks import with_pipeline_hooks
from flowstone_core.plugin.registry import Plugins

HEAD = "from flowstone_core import Pipeline, hookimpl\npipeline = Pipeline('shop')\n"
ALERT = """
told = []
@hookimpl
def flowstone_materialization_changed(materialization):
    if materialization.state == "discarded":
        told.append((materialization.asset, materialization.error))
@hookimpl
def flowstone_runner_started(runner):
    told.append("started")
@pipeline.asset(max_attempts=1)
def orders(context):
    raise KeyError("missing")
other = Pipeline("other")
"""

Load = Callable[..., Flowstone]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a module of a pipeline, and load a configuration that names it."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(text: str, *names: str) -> Flowstone:
        module = f"shop_{abs(hash((text, str(tmp_path))))}"
        (tmp_path / f"{module}.py").write_text(HEAD + text)
        lines = "".join(f"\n    {module}:{name}" for name in names or ("pipeline",))
        config = tmp_path / "setup.cfg"
        config.write_text(f"[flowstone]\nstore = sqlite://\npipelines ={lines}\n")
        return Flowstone(config=config)

    return load


def test_N21_hooks_of_a_pipeline_module_are_called_once(load: Load) -> None:
    with load(ALERT, "pipeline", "other") as flow:
        flow.materialize("orders", "eu")
        flow.run(once=True)
        orders = flow.project.assets["orders"].function
        told = orders.__globals__["told"]  # type: ignore[attr-defined]  # it is a function
    assert told == ["started", ("orders", "KeyError: 'missing'")]


def test_N21_hook_that_fails_is_logged_with_its_module(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    text = "@hookimpl\ndef flowstone_runner_started(runner):\n    raise OSError('no mail')\n"
    with load(text) as flow:
        assert flow.run(once=True)
    (record,) = [each for each in caplog.records if each.name == "flowstone.hooks"]
    assert vars(record)["plugin"].startswith("shop_")
    assert vars(record)["error"] == "OSError: no mail"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flowstone_sensor_stall(sensor)", "unknown hook 'flowstone_sensor_stall', did you mean"),
        ("flowstone_sensors()", "a pipeline cannot implement 'flowstone_sensors' (provide it with"),
        ("flowstone_commands()", "a pipeline cannot implement 'flowstone_commands'"),
        ("flowstone_triggered(happened)", "invalid hook implementation: "),
    ],
)
def test_N21_hook_that_would_not_be_called_is_refused(load: Load, name: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        load(f"@hookimpl\ndef {name}:\n    pass\n")
    (problem,) = raised.value.problems
    assert message in str(problem)
    assert "shop_" in problem.where


@hookimpl
def flowstone_runner_stopping(runner: object) -> None:
    STOPPED.append(runner)


STOPPED: list[object] = []


def test_N21_pipeline_made_in_python_watches_too() -> None:
    with Flowstone(Pipeline("shop"), store="sqlite://") as flow:
        flow.run(once=True)
    assert len(STOPPED) == 1


def test_N21_module_that_is_gone_watches_nothing() -> None:
    plugins, problems = with_pipeline_hooks(Plugins(), ["no_such_module"])
    assert (plugins.watchers("flowstone_triggered"), problems) == ([], [])
