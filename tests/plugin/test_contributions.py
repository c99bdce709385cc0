"""The providing hooks of one plugin, called alone, and what they return checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import MappingProxyType

import click
import pytest

from flowstone_core.model.engine import Engine
from flowstone_core.model.event import NotTriggered, Outcome
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.plugin.contributions import (
    Contribution,
    is_engine_class,
    provide,
    provide_commands,
)


class Still(Sensor[SensorConfig, None]):
    def init(self) -> None:
        raise NotImplementedError

    def poll(self, state: None) -> Outcome[None]:
        return NotTriggered(state)


class Unfinished(Sensor[SensorConfig, None]):
    def init(self) -> None:
        raise NotImplementedError


class Unconfigured(Still):
    Config = dict  # type: ignore[assignment]  # what is checked for


class Half(Engine):
    def start(self) -> None:
        raise NotImplementedError


class Whole(Half):
    def wake(self) -> None:
        raise NotImplementedError

    def drain(self, timeout: timedelta | None = None) -> bool:
        raise NotImplementedError

    def stop(self, grace: timedelta) -> bool:
        raise NotImplementedError


def fail(error: BaseException) -> Callable[[], object]:
    def hook() -> object:
        raise error

    return hook


NO_SENSOR = "not a sensor class: it must derive from Sensor and have init, poll and a Config"
NO_ENGINE = "not an engine class: it must derive from Engine and have all its methods"


def test_contributions_are_grouped_by_kind() -> None:
    hooks = {
        "flowstone_sensors": lambda: MappingProxyType({"still": Still}),
        "flowstone_engines": lambda: {"whole": Whole},
    }
    contributions = provide(hooks)
    assert (contributions.sensors, contributions.engines) == ({"still": Still}, {"whole": Whole})
    assert (contributions.commands, contributions.problems) == ({}, [])


def test_provide_calls_only_providing_hooks() -> None:
    hooks = dict.fromkeys(("flowstone_commands", "flowstone_triggered"), fail(AssertionError()))
    contributions = provide(hooks)
    assert (contributions.sensors, contributions.engines, contributions.problems) == ({}, {}, [])


@pytest.mark.parametrize("value", [Unfinished, Unconfigured, Whole, Sensor, dict, "still", None])
def test_provide_reports_invalid_sensor_class_keeps_others(value: object) -> None:
    contributions = provide({"flowstone_sensors": lambda: {"odd": value, "still": Still}})
    assert contributions.sensors == {"still": Still}
    assert contributions.problems == [f"flowstone_sensors: 'odd' is {value!r}, {NO_SENSOR}"]


@pytest.mark.parametrize("value", [Half, Engine, Still, "whole", None])
def test_provide_reports_invalid_engine_class_keeps_others(value: object) -> None:
    assert not is_engine_class(value)
    contributions = provide({"flowstone_engines": lambda: {"odd": value, "whole": Whole}})
    assert contributions.engines == {"whole": Whole}
    assert contributions.problems == [f"flowstone_engines: 'odd' is {value!r}, {NO_ENGINE}"]


@pytest.mark.parametrize("name", ["", "two words", "-first", "line\n", 1, None, b"still"])
def test_provide_invalid_name_is_reported(name: object) -> None:
    contributions = provide({"flowstone_sensors": lambda: {name: Still}})
    assert not contributions.sensors
    (problem,) = contributions.problems
    assert problem.endswith(": must be letters, digits and _.- as in 's3_file_arrival'")
    assert "\n" not in problem


@pytest.mark.parametrize("returned", [None, ["still"], {"still"}, "still", Still])
def test_provide_without_mapping_is_refused(returned: object) -> None:
    contributions = provide({"flowstone_sensors": lambda: returned})
    kind = type(returned).__qualname__
    said = f"flowstone_sensors returned a value of type {kind}; it must return a mapping"
    assert (contributions.sensors, contributions.problems) == ({}, [said])


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit("no"), GeneratorExit("no"), KeyboardInterrupt("no")]
)
def test_P12_hook_that_raises_leaves_other_hooks(error: BaseException) -> None:
    hooks = {"flowstone_sensors": fail(error), "flowstone_engines": lambda: {"whole": Whole}}
    contributions = provide(hooks)
    assert contributions.engines == {"whole": Whole}
    assert contributions.problems == [f"flowstone_sensors raised {type(error).__name__}: no"]


def test_provide_reports_all_problems() -> None:
    hooks = {"flowstone_sensors": lambda: {"a": 1, "b": 2}, "flowstone_engines": fail(OSError())}
    assert [problem[:24] for problem in provide(hooks).problems] == [
        "flowstone_sensors: 'a' i",
        "flowstone_sensors: 'b' i",
        "flowstone_engines raised",
    ]


def test_provide_value_with_failing_repr_is_reported() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise SystemExit("do not look")

    contributions = provide({"flowstone_sensors": lambda: {"still": Still, "shy": Shy()}})
    assert contributions.sensors == {"still": Still}
    assert contributions.problems == ["flowstone_sensors raised SystemExit: do not look"]


def test_provide_long_value_is_truncated() -> None:
    (problem,) = provide({"flowstone_sensors": lambda: {"long": "x" * 10_000}}).problems
    assert len(problem) < 300
    assert problem.endswith(NO_SENSOR)


def test_provide_commands_calls_no_other_hook() -> None:
    @click.command()
    def greet() -> None:
        raise NotImplementedError

    contributions = provide_commands(lambda: {"greet": greet, "shout": print}, click.Command)
    assert contributions.commands == {"greet": greet}
    said = f"flowstone_commands: 'shout' is {print!r}, not a click command"
    assert contributions.problems == [said]


def test_contribution_owner_names_plugin_and_distribution() -> None:
    provided = Contribution("still", Still, "toy", "toys", "2.5")
    assert provided.owner == "plugin 'toy' of toys 2.5"
