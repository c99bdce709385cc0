"""What a plugin provides: its providing hooks, each called alone, and what they return checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flowstone_core.asset import NAME
from flowstone_core.declaration import is_sensor_class
from flowstone_core.engine import Engine
from flowstone_core.errors import describe


@dataclass(frozen=True, slots=True)
class Provided:
    """A sensor or engine class, and whose it is.

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
class Provision:
    """What one plugin provides, and everything that is wrong with it."""

    sensors: dict[str, type] = field(default_factory=dict)
    engines: dict[str, type] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def provide(hooks: Mapping[str, Callable[[], object]]) -> Provision:
    """Call the providing hooks of one plugin; whatever they do is contained.

    Args:
        hooks: Those that it implements, by name.
    """
    provision = Provision()
    for hook, found, fits, misfit in (
        ("flowstone_sensors", provision.sensors, is_sensor_class, _NO_SENSOR),
        ("flowstone_engines", provision.engines, is_engine_class, _NO_ENGINE),
    ):
        if hook in hooks:
            for name, value in _returned(hook, hooks[hook], provision.problems):
                if not isinstance(name, str) or not NAME.fullmatch(name):
                    provision.problems.append(f"{hook}: {name!r:.80} is no name")
                elif not fits(value):
                    provision.problems.append(f"{hook}: {name!r} is {value!r:.120}, {misfit}")
                else:
                    found[name] = value
    return provision


_NO_SENSOR = "no sensor class: that derives from Sensor and has init, poll and a Config"
_NO_ENGINE = "no engine class: that derives from Engine and has all its methods"


def is_engine_class(value: object) -> bool:
    """Say whether ``value`` is a concrete engine class."""
    return isinstance(value, type) and issubclass(value, Engine) and not inspect.isabstract(value)


def _returned(
    hook: str, call: Callable[[], object], problems: list[str]
) -> list[tuple[object, type]]:
    try:
        returned = call()
        if isinstance(returned, Mapping):
            return list(returned.items())
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        problems.append(f"{hook} raised {describe(error)}")
        return []
    kind = type(returned).__qualname__
    problems.append(f"{hook} returned a value of type {kind}; it must return a mapping")
    return []
