"""Hook implementations in the module of a pipeline: called like those of a plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from flowstone_core import Flowstone, Pipeline, ValidationError, hookimpl
from flowstone_core.plugin.pipeline_hooks import with_pipeline_hooks
from flowstone_core.plugin.registry import Plugins, new_manager

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
        ("flowstone_triggered(happened)", "invalid hook implementation: "),
    ],
)
def test_N21_hook_that_would_not_be_called_is_refused(load: Load, name: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        load(f"@hookimpl\ndef {name}:\n    pass\n")
    (problem,) = raised.value.problems
    assert message in str(problem)
    assert "shop_" in problem.where


@pytest.mark.parametrize("name", ["flowstone_sensors", "flowstone_commands"])
def test_N21_hook_that_provides_is_ignored_with_a_warning(load: Load, name: str) -> None:
    with load(f"@hookimpl\ndef {name}():\n    raise KeyError\n") as flow:
        (warning,) = flow.project.warnings
        assert f"a pipeline cannot implement '{name}' (provide it with an" in str(warning)
        assert flow.project.plugins.watchers("flowstone_commands") == []


def test_N21_module_of_an_installed_plugin_is_called_once() -> None:
    def flowstone_triggered(event: object) -> None:
        del event

    module = ModuleType("both")
    module.flowstone_triggered = hookimpl(flowstone_triggered)  # type: ignore[attr-defined]
    manager = new_manager()
    plugin = ModuleType("plugin")
    vars(plugin).update(flowstone_triggered=flowstone_triggered)
    manager.register(plugin, name="plugin")
    sys.modules["both"] = module
    try:
        found = with_pipeline_hooks(Plugins(_manager=manager), ["both"])
    finally:
        del sys.modules["both"]
    assert [plugin for plugin, _ in found.plugins.watchers("flowstone_triggered")] == ["plugin"]


@hookimpl
def flowstone_runner_stopping(runner: object) -> None:
    STOPPED.append(runner)


STOPPED: list[object] = []


def test_N21_pipeline_made_in_python_watches_too() -> None:
    with Flowstone(Pipeline("shop"), store="sqlite://") as flow:
        flow.run(once=True)
    assert len(STOPPED) == 1


def test_N21_module_that_is_gone_watches_nothing() -> None:
    found = with_pipeline_hooks(Plugins(), ["no_such_module"])
    assert (found.plugins.watchers("flowstone_triggered"), found.problems) == ([], [])
