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


NO_SENSOR = "no sensor class: that derives from Sensor and has init, poll and a Config"
NO_ENGINE = "no engine class: that derives from Engine and has all its methods"


def test_what_is_provided_is_kept_by_kind() -> None:
    hooks = {
        "flowstone_sensors": lambda: MappingProxyType({"still": Still}),
        "flowstone_engines": lambda: {"whole": Whole},
    }
    provision = provide(hooks)
    assert (provision.sensors, provision.engines) == ({"still": Still}, {"whole": Whole})
    assert (provision.commands, provision.problems) == ({}, [])


def test_only_providing_hooks_are_called() -> None:
    hooks = dict.fromkeys(("flowstone_commands", "flowstone_triggered"), fail(AssertionError()))
    provision = provide(hooks)
    assert (provision.sensors, provision.engines, provision.problems) == ({}, {}, [])


@pytest.mark.parametrize("value", [Unfinished, Unconfigured, Whole, Sensor, dict, "still", None])
def test_what_is_no_sensor_class_is_named_beside_what_is(value: object) -> None:
    provision = provide({"flowstone_sensors": lambda: {"odd": value, "still": Still}})
    assert provision.sensors == {"still": Still}
    assert provision.problems == [f"flowstone_sensors: 'odd' is {value!r}, {NO_SENSOR}"]


@pytest.mark.parametrize("value", [Half, Engine, Still, "whole", None])
def test_what_is_no_engine_class_is_named_beside_what_is(value: object) -> None:
    assert not is_engine_class(value)
    provision = provide({"flowstone_engines": lambda: {"odd": value, "whole": Whole}})
    assert provision.engines == {"whole": Whole}
    assert provision.problems == [f"flowstone_engines: 'odd' is {value!r}, {NO_ENGINE}"]


@pytest.mark.parametrize("name", ["", "two words", "-first", "line\n", 1, None, b"still"])
def test_a_name_must_be_one_that_configuration_can_write(name: object) -> None:
    provision = provide({"flowstone_sensors": lambda: {name: Still}})
    assert not provision.sensors
    (problem,) = provision.problems
    assert problem.endswith(" is no name: letters, digits and _.- as in 's3_file_arrival'")
    assert "\n" not in problem


@pytest.mark.parametrize("returned", [None, ["still"], {"still"}, "still", Still])
def test_what_is_no_mapping_is_refused_whole(returned: object) -> None:
    provision = provide({"flowstone_sensors": lambda: returned})
    kind = type(returned).__qualname__
    said = f"flowstone_sensors returned a value of type {kind}; it must return a mapping"
    assert (provision.sensors, provision.problems) == ({}, [said])


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit("no"), GeneratorExit("no"), KeyboardInterrupt("no")]
)
def test_P12_what_a_hook_raises_harms_no_other_hook(error: BaseException) -> None:
    hooks = {"flowstone_sensors": fail(error), "flowstone_engines": lambda: {"whole": Whole}}
    provision = provide(hooks)
    assert provision.engines == {"whole": Whole}
    assert provision.problems == [f"flowstone_sensors raised {type(error).__name__}: no"]


def test_all_problems_are_told_at_once() -> None:
    hooks = {"flowstone_sensors": lambda: {"a": 1, "b": 2}, "flowstone_engines": fail(OSError())}
    assert [problem[:24] for problem in provide(hooks).problems] == [
        "flowstone_sensors: 'a' i",
        "flowstone_sensors: 'b' i",
        "flowstone_engines raised",
    ]


def test_a_value_that_cannot_be_shown_is_contained() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise SystemExit("do not look")

    provision = provide({"flowstone_sensors": lambda: {"still": Still, "shy": Shy()}})
    assert provision.sensors == {"still": Still}
    assert provision.problems == ["flowstone_sensors raised SystemExit: do not look"]


def test_a_long_value_is_cut() -> None:
    (problem,) = provide({"flowstone_sensors": lambda: {"long": "x" * 10_000}}).problems
    assert len(problem) < 300
    assert problem.endswith(NO_SENSOR)


def test_commands_are_asked_for_alone() -> None:
    @click.command()
    def greet() -> None:
        raise NotImplementedError

    provision = provide_commands(lambda: {"greet": greet, "shout": print}, click.Command)
    assert provision.commands == {"greet": greet}
    said = f"flowstone_commands: 'shout' is {print!r}, no click command"
    assert provision.problems == [said]


def test_the_owner_is_named_for_messages() -> None:
    provided = Contribution("still", Still, "toy", "toys", "2.5")
    assert provided.owner == "plugin 'toy' of toys 2.5"
