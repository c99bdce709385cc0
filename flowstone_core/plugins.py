"""Plugins: what is installed and registered, what it provides, or why it is broken.

stevedore finds and imports (`entry_point`), pluggy specifies and calls. pluggy lets a misspelt
hook pass until it is asked, and one hook that raises would end a whole call: so each plugin is
asked, and called, alone.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pluggy

from flowstone_core import hookspecs
from flowstone_core.entry_point import (
    DISABLE_VARIABLE,
    Loader,
    PluginReport,
    Reports,
    installed,
    refuse_shared_names,
)
from flowstone_core.errors import PluginError, describe
from flowstone_core.hookspecs import API_VERSION, PROJECT
from flowstone_core.provision import Provided, provide

if TYPE_CHECKING:
    import click

CORE = "flowstone-core"
"""The distribution whose own plugin is always loaded."""

_PROVIDING = ("flowstone_sensors", "flowstone_engines", "flowstone_commands")


@dataclass(frozen=True)
class Plugins:
    """What is installed.

    Attributes:
        reports: Every entry point, sorted by distribution and name.
        sensors: Sensor classes by the name that configuration writes as ``type``.
        engines: Engine classes by the name that configuration writes as ``engine``.
    """

    reports: Sequence[PluginReport] = ()
    sensors: Mapping[str, Provided] = field(default_factory=dict)
    engines: Mapping[str, Provided] = field(default_factory=dict)
    _manager: pluggy.PluginManager | None = field(default=None, repr=False)

    def watchers(self, hook: str) -> Sequence[tuple[str, Callable[..., object]]]:
        """Return the implementations of a hook, each to be called alone.

        Returns:
            For each the plugin's name, and a function of the hook's arguments by name.
        """
        if self._manager is None:
            return ()
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        return [(each.plugin_name, _by_name(each)) for each in implementations]

    def commands(self) -> Mapping[str, click.Command]:
        """Return the commands that plugins provide, by name.

        Called in the main thread, when a command is not one of FlowStone's own. The first plugin
        by name has a command that two provide.

        Raises:
            PluginError: If a plugin does not return commands; lists all that do not.
        """
        import click

        found: dict[str, click.Command] = {}
        wrong = []
        for plugin, call in self.watchers("flowstone_commands"):
            try:
                own = dict(cast("Mapping[str, object]", call()))
            except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
                wrong.append(f"plugin {plugin!r}: flowstone_commands raised {describe(error)}")
                continue
            for name, command in own.items():
                if isinstance(command, click.Command):
                    found.setdefault(name, command)
                else:
                    wrong.append(f"plugin {plugin!r}: {name!r} is {command!r:.80}, no command")
        if wrong:
            raise PluginError("\n".join(wrong))
        return found


def discover(allow: Collection[str] | None = None, disabled: Collection[str] = ()) -> Plugins:
    """Find, import, register and check every plugin that is installed.

    Called in the main thread, by whoever needs plugins; nothing is kept between calls.

    Args:
        allow: Distributions that are loaded; all if None. The core's own plugin always is.
        disabled: Entry points or distributions that are not loaded, beside those that the
            environment variable `DISABLE_VARIABLE` names.
    """
    variable = os.environ.get(DISABLE_VARIABLE, "")
    blocked = {_normal(name) for name in (*disabled, *variable.split(","))}
    allowed = None if allow is None else {CORE, *map(_normal, allow)}
    reports = installed()
    for report in reports.values():
        distribution = _normal(report.distribution)
        if allowed is not None and distribution not in allowed:
            report.status, report.error = "blocked", "its distribution is not in 'plugins'"
        elif blocked & {_normal(report.name), distribution} and distribution != CORE:
            report.status, report.error = "blocked", "it is disabled"
    refuse_shared_names(reports.values())
    manager = _registered(reports)
    return _provided(manager, reports)


def _registered(reports: Reports) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    by_name = {}
    for extension in sorted(Loader(reports), key=lambda each: each.name):
        report = reports[extension.name, extension.entry_point.value]
        by_name[report.name] = report
        written_for = getattr(extension.plugin, "FLOWSTONE_API", None)
        if written_for != API_VERSION:
            report.fault(
                f"it states FLOWSTONE_API = {written_for!r:.40}, this core has {API_VERSION}",
                "install a version of the plugin for this core, or another core",
            )
            continue
        try:
            manager.register(extension.plugin, name=report.name)
        except Exception as error:  # noqa: BLE001 - pluggy looks at every attribute of the plugin
            report.fault(f"its hooks do not fit: {_one_line(error)}")
    # It names one misspelt hook at a time.
    while (misfit := _pending(manager)) is not None:
        name = manager.get_name(misfit.plugin) or ""
        manager.unregister(name=name)
        by_name[name].fault(f"its hooks do not fit: {_one_line(misfit)}")
    return manager


def _pending(manager: pluggy.PluginManager) -> pluggy.PluginValidationError | None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        return error
    return None


def _provided(manager: pluggy.PluginManager, reports: Reports) -> Plugins:
    sensors: defaultdict[str, list[Provided]] = defaultdict(list)
    engines: defaultdict[str, list[Provided]] = defaultdict(list)
    by_name = {report.name: report for report in reports.values() if report.status == "ok"}
    for name, report in by_name.items():
        hooks = {
            caller.name: _by_name(each)
            for caller in manager.get_hookcallers(manager.get_plugin(name)) or ()
            for each in caller.get_hookimpls()
            if each.plugin_name == name
        }
        provision = provide(hooks)
        for problem in provision.problems:
            report.fault(problem)
        report.watches = tuple(sorted(hooks.keys() - set(_PROVIDING)))
        for offered, found in ((provision.sensors, sensors), (provision.engines, engines)):
            for what, value in offered.items():
                found[what].append(Provided(what, value, name, report.distribution, report.version))
    plugins = Plugins(
        tuple(reports.values()),
        _unshared("sensor", sensors, by_name),
        _unshared("engine", engines, by_name),
        manager,
    )
    for name, report in by_name.items():
        report.sensors = tuple(
            sorted(each.name for each in plugins.sensors.values() if each.plugin == name)
        )
        report.engines = tuple(
            sorted(each.name for each in plugins.engines.values() if each.plugin == name)
        )
    return plugins


def _unshared(
    what: str, offers: Mapping[str, list[Provided]], reports: Mapping[str, PluginReport]
) -> dict[str, Provided]:
    """Leave out what several plugins provide: nobody can say which one is meant.

    What the core provides stays: a plugin cannot take its place, nor take it away.
    """
    found = {}
    for name, offered in sorted(offers.items()):
        own = [each for each in offered if each.distribution == CORE]
        if own or len(offered) == 1:
            found[name] = (own or offered)[0]
        if len(offered) == 1:
            continue
        owners = " and ".join(each.owner for each in offered)
        for each in offered:
            if each not in own:
                reports[each.plugin].fault(
                    f"the {what} {name!r} is provided by several: {owners}",
                    f"uninstall one of them, or disable it by {DISABLE_VARIABLE}",
                )
    return found


def _by_name(implementation: pluggy.HookImpl) -> Callable[..., object]:
    def call(**arguments: object) -> object:
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    return call


def _one_line(error: BaseException) -> str:
    return " ".join(describe(error).split())


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")
