"""Contributions: the checked results of a plugin's providing hooks, each called separately."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from flowstone_core.model.asset import NAME
from flowstone_core.model.engine import Engine
from flowstone_core.model.safe_text import describe, printable
from flowstone_core.model.sensor import AnySensor, is_sensor_class
from flowstone_core.plugin.labels import plugin_label
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.scheduling.builtin_triggers import RESERVED
from flowstone_core.scheduling.trigger import Trigger

if TYPE_CHECKING:
    import click

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contribution:
    """Contribution: a sensor, trigger or engine class with its plugin.

    Attributes:
        name: The name in the configuration.
        plugin: The name of the entry point.
    """

    name: str
    value: type
    plugin: str
    distribution: str
    version: str

    @property
    def owner(self) -> str:
        """Plugin and distribution, for messages."""
        return plugin_label(self.plugin, self.distribution, self.version)


@dataclass(slots=True)
class Contributions:
    """Contributions of one plugin, and all problems with them."""

    sensors: dict[str, type[AnySensor]] = field(default_factory=dict)
    triggers: dict[str, type[Trigger]] = field(default_factory=dict)
    engines: dict[str, type[Engine]] = field(default_factory=dict)
    commands: dict[str, click.Command] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def provide(
    hooks: Mapping[str, Callable[[], object]], limit: TimeLimit | None = None
) -> Contributions:
    """Call the providing hooks of one plugin; their exceptions are contained.

    Args:
        hooks: The hooks that the plugin implements, by name.
        limit: Time limit of each hook.

    Raises:
        KeyboardInterrupt: If Ctrl-C ends the wait for a hook.
    """
    contributions = Contributions()
    ask = partial(_ask, limit)
    if hook := hooks.get("flowstone_sensors"):
        contributions.sensors, problems = ask(
            "flowstone_sensors", hook, is_sensor_class, _NO_SENSOR
        )
        contributions.problems += problems
    if hook := hooks.get("flowstone_triggers"):
        found, problems = ask("flowstone_triggers", hook, is_trigger_class, _NO_TRIGGER)
        contributions.problems += problems
        for name in sorted(found.keys() & RESERVED):
            del found[name]
            contributions.problems.append(
                f"flowstone_triggers: every schedule has a setting {name!r}; choose another name"
            )
        contributions.triggers = found
    if hook := hooks.get("flowstone_engines"):
        contributions.engines, problems = ask(
            "flowstone_engines", hook, is_engine_class, _NO_ENGINE
        )
        contributions.problems += problems
    return contributions


def provide_commands(
    hook: Callable[[], object], kind: type[click.Command], limit: TimeLimit | None = None
) -> Contributions:
    """Call one plugin's hook ``flowstone_commands``; its exceptions are contained.

    Args:
        hook: The implementation.
        kind: click's class, passed by the caller: nothing else here needs to import click.
        limit: Time limit of the hook.

    Raises:
        KeyboardInterrupt: If Ctrl-C ends the wait for the hook.
    """

    def fits(value: object) -> TypeGuard[click.Command]:
        return isinstance(value, kind)

    found, problems = _ask(limit, "flowstone_commands", hook, fits, "not a click command")
    return Contributions(commands=found, problems=problems)


_NAME_RULE = "must be letters, digits and _.- as in 's3_file_arrival'"
_NO_SENSOR = "not a sensor class: it must derive from Sensor and have init, poll and a Config"
_NO_TRIGGER = "not a trigger class: it must derive from Trigger and have next_fire"
_NO_ENGINE = "not an engine class: it must derive from Engine and have all its methods"


def is_trigger_class(value: object) -> TypeGuard[type[Trigger]]:
    """Return True if ``value`` is a concrete trigger class."""
    return isinstance(value, type) and issubclass(value, Trigger) and not inspect.isabstract(value)


def is_engine_class(value: object) -> TypeGuard[type[Engine]]:
    """Return True if ``value`` is a concrete engine class."""
    return isinstance(value, type) and issubclass(value, Engine) and not inspect.isabstract(value)


def _ask(
    limit: TimeLimit | None,
    hook: str,
    call: Callable[[], object],
    fits: Callable[[object], TypeGuard[T]],
    misfit: str,
) -> tuple[dict[str, T], list[str]]:
    limit = limit or TimeLimit()
    answer = limit.call(lambda: _answer(hook, call, fits, misfit))
    return ({}, [f"{hook}: {limit.passed}"]) if answer is None else answer


def _answer(
    hook: str, call: Callable[[], object], fits: Callable[[object], TypeGuard[T]], misfit: str
) -> tuple[dict[str, T], list[str]]:
    found: dict[str, T] = {}
    problems = []
    try:
        returned = call()
        if not isinstance(returned, Mapping):
            kind = type(returned).__qualname__
            return {}, [f"{hook} returned a value of type {kind}; it must return a mapping"]
        for name, value in returned.items():
            if not isinstance(name, str) or not NAME.fullmatch(name):
                problems.append(f"{hook}: invalid name {_shown(name)}: {_NAME_RULE}")
            elif not fits(value):
                problems.append(f"{hook}: {name!r} is {_shown(value)}, {misfit}")
            else:
                found[name] = value
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        problems.append(f"{hook} raised {describe(error)}")
    return found, problems


def _shown(value: object) -> str:
    return printable(repr(value), limit=120)
