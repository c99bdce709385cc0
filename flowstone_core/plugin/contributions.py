"""What a plugin provides: its providing hooks, each called alone, and what they return checked."""

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
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.scheduling.builtin_triggers import RESERVED
from flowstone_core.scheduling.trigger import Trigger

if TYPE_CHECKING:
    import click

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contribution:
    """A sensor, trigger or engine class, and whose it is.

    Attributes:
        name: What configuration writes.
        plugin: The name of the entry point.
    """

    name: str
    value: type
    plugin: str
    distribution: str
    version: str

    @property
    def owner(self) -> str:
        """Whose it is, for messages."""
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}"


@dataclass(slots=True)
class Contributions:
    """What one plugin provides, and everything that is wrong with it."""

    sensors: dict[str, type[AnySensor]] = field(default_factory=dict)
    triggers: dict[str, type[Trigger]] = field(default_factory=dict)
    engines: dict[str, type[Engine]] = field(default_factory=dict)
    commands: dict[str, click.Command] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def provide(
    hooks: Mapping[str, Callable[[], object]], deadline: TimeLimit | None = None
) -> Contributions:
    """Call the providing hooks of one plugin; whatever they do is contained.

    Args:
        hooks: Those that it implements, by name.
        deadline: Each hook has this long.

    Raises:
        KeyboardInterrupt: If somebody does not want to wait for a hook.
    """
    provision = Contributions()
    ask = partial(_ask, deadline)
    if hook := hooks.get("flowstone_sensors"):
        provision.sensors, problems = ask("flowstone_sensors", hook, is_sensor_class, _NO_SENSOR)
        provision.problems += problems
    if hook := hooks.get("flowstone_triggers"):
        found, problems = ask("flowstone_triggers", hook, is_trigger_class, _NO_TRIGGER)
        provision.problems += problems
        for name in sorted(found.keys() & RESERVED):
            del found[name]
            provision.problems.append(
                f"flowstone_triggers: every schedule has a setting {name!r}; choose another name"
            )
        provision.triggers = found
    if hook := hooks.get("flowstone_engines"):
        provision.engines, problems = ask("flowstone_engines", hook, is_engine_class, _NO_ENGINE)
        provision.problems += problems
    return provision


def provide_commands(
    hook: Callable[[], object], kind: type[click.Command], deadline: TimeLimit | None = None
) -> Contributions:
    """Call one plugin's hook ``flowstone_commands``; whatever it does is contained.

    Args:
        hook: Its implementation.
        kind: click's class, from whoever has imported it: nothing else here needs it.
        deadline: The hook has this long.

    Raises:
        KeyboardInterrupt: If somebody does not want to wait for the hook.
    """

    def fits(value: object) -> TypeGuard[click.Command]:
        return isinstance(value, kind)

    found, problems = _ask(deadline, "flowstone_commands", hook, fits, "no click command")
    return Contributions(commands=found, problems=problems)


_NAME_RULE = "letters, digits and _.- as in 's3_file_arrival'"
_NO_SENSOR = "no sensor class: that derives from Sensor and has init, poll and a Config"
_NO_TRIGGER = "no trigger class: that derives from Trigger and has next_fire"
_NO_ENGINE = "no engine class: that derives from Engine and has all its methods"


def is_trigger_class(value: object) -> TypeGuard[type[Trigger]]:
    """Say whether ``value`` is a concrete trigger class."""
    return isinstance(value, type) and issubclass(value, Trigger) and not inspect.isabstract(value)


def is_engine_class(value: object) -> TypeGuard[type[Engine]]:
    """Say whether ``value`` is a concrete engine class."""
    return isinstance(value, type) and issubclass(value, Engine) and not inspect.isabstract(value)


def _ask(
    deadline: TimeLimit | None,
    hook: str,
    call: Callable[[], object],
    fits: Callable[[object], TypeGuard[T]],
    misfit: str,
) -> tuple[dict[str, T], list[str]]:
    deadline = deadline or TimeLimit()
    answer = deadline.call(lambda: _answer(hook, call, fits, misfit))
    return ({}, [f"{hook}: {deadline.passed}"]) if answer is None else answer


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
                problems.append(f"{hook}: {_shown(name)} is no name: {_NAME_RULE}")
            elif not fits(value):
                problems.append(f"{hook}: {name!r} is {_shown(value)}, {misfit}")
            else:
                found[name] = value
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        problems.append(f"{hook} raised {describe(error)}")
    return found, problems


def _shown(value: object) -> str:
    return printable(repr(value), limit=120)
