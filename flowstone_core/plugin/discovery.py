"""Plugins: what is installed and registered, what it provides, or why it is broken.

stevedore imports (`entry_point`), pluggy specifies and calls. pluggy lets a misspelt hook pass,
and one hook that raises would end a whole call: so each plugin is checked, and called, alone.
"""

from __future__ import annotations

import inspect
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pluggy

from flowstone_core.errors import did_you_mean
from flowstone_core.model.safe_text import describe
from flowstone_core.plugin import hookspecs
from flowstone_core.plugin.contributions import Contribution, provide
from flowstone_core.plugin.entry_points import (
    CORE,
    DISABLE_VARIABLE,
    Installed,
    Loader,
    PluginReport,
    installed,
    normalized,
    refuse_shared_names,
)
from flowstone_core.plugin.hookspecs import API_VERSION, PROJECT
from flowstone_core.plugin.registry import Plugins, _by_name, _manager
from flowstone_core.plugin.time_limit import TimeLimit

_PROVIDING = frozenset(
    {"flowstone_sensors", "flowstone_triggers", "flowstone_engines", "flowstone_commands"}
)


def discover(
    allow: Collection[str] | None = None,
    disabled: Collection[str] = (),
    deadline: TimeLimit | None = None,
) -> Plugins:
    """Find, import, register and check every plugin that is installed.

    Called by whoever needs plugins; nothing is kept between calls. What is foreign runs in threads
    of its own: what does not come back is broken, and what it does later changes nothing here.

    Args:
        allow: Distributions that are loaded; all if None. The core's own plugin always is.
        disabled: Entry points or distributions that are not loaded, beside those that the
            environment variable `DISABLE_VARIABLE` names.
        deadline: Each import, each look at a plugin and each of its hooks has this long.

    Raises:
        KeyboardInterrupt: If somebody does not want to wait for a plugin.
    """
    variable = os.environ.get(DISABLE_VARIABLE, "")
    blocked = {normalized(name) for name in (*disabled, *variable.split(","))} - {""}
    allowed = None if allow is None else set(map(normalized, allow))
    found = installed()
    reports = [report for _, report in found]
    for report in reports:
        distribution = normalized(report.distribution)
        if distribution == CORE:
            continue
        if allowed is not None and distribution not in allowed:
            report.status, report.error = "blocked", "its distribution is not in 'plugins'"
        elif blocked & {normalized(report.name), distribution}:
            report.status, report.error = "blocked", "it is disabled"
    refuse_shared_names(reports)
    deadline = deadline or TimeLimit()
    return _provided(_registered(found, deadline), reports, deadline)


def _registered(found: Installed, deadline: TimeLimit) -> pluggy.PluginManager:
    manager = _manager()
    by_name = {report.name: report for _, report in found if report.status == "ok"}
    owners: dict[int, str] = {}
    for extension in sorted(Loader(found, deadline), key=lambda each: each.name):
        plugin, report = extension.plugin, by_name[extension.name]
        owner = owners.setdefault(id(plugin), report.owner)
        if owner != report.owner:
            report.fault(f"it names the same module or object as {owner}")
            continue
        seen = deadline.call(partial(_look, plugin, report.name))
        if seen is None:
            report.fault(f"its hooks cannot be looked at: {deadline.passed}")
        elif seen.problems:
            for problem in seen.problems:
                report.fault(problem, seen.hint)
        else:
            manager.register(_Hooks(seen.hooks), name=report.name)
    return manager


@dataclass(frozen=True, slots=True)
class _Look:
    """What a plugin has, or what is wrong with it."""

    hooks: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    problems: Sequence[str] = ()
    hint: str | None = None


class _Hooks:
    """The hooks of a plugin, without the plugin: looked at again it might be another one."""

    def __init__(self, hooks: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(hooks)


def _look(plugin: object, name: str) -> _Look:
    """Look at a plugin alone; whatever it does meanwhile is contained."""
    try:
        written_for = getattr(plugin, "FLOWSTONE_API", None)
        if written_for != API_VERSION:
            states = "no FLOWSTONE_API" if written_for is None else f"API {written_for!r:.40}"
            hint = f"install one that states FLOWSTONE_API = {API_VERSION}, or another core"
            return _Look({}, [f"it states {states}, this core has API {API_VERSION}"], hint)
        manager = _manager()
        manager.register(plugin, name=name)
        misfits = [f"its hooks do not fit: {misfit}" for misfit in _misfits(manager, plugin)]
        callers = manager.get_hookcallers(plugin) or ()
        hooks = {caller.name: caller.get_hookimpls()[0].function for caller in callers}
        return _Look(hooks, misfits)
    except BaseException as error:  # noqa: BLE001 - a plugin's attributes are foreign code too
        return _Look({}, [f"its hooks do not fit: {' '.join(describe(error).split())}"])


def _misfits(manager: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    """Say which hooks of a plugin nothing would ever call, or nothing would run when called.

    pluggy's own check names one misspelt hook, and not what it may be meant to be.
    """
    callers = {caller.name: caller for caller in manager.get_hookcallers(plugin) or ()}
    for name, caller in callers.items():
        own = caller.get_hookimpls()
        if not caller.has_spec() and not all(each.optionalhook for each in own):
            known = (each for each in vars(hookspecs) if each.startswith(f"{PROJECT}_"))
            yield f"there is no hook {name!r}, {did_you_mean(name, known)}".rstrip(", ")
        if len(own) > 1:
            yield f"{name!r} is implemented {len(own)} times"
        if any(_is_deferred(each.function) for each in own):
            yield f"{name!r} is a generator or an async function, which nothing would run"


def _is_deferred(function: Callable[..., object]) -> bool:
    return (
        inspect.isgeneratorfunction(function)
        or inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
    )


def _provided(
    manager: pluggy.PluginManager, reports: Sequence[PluginReport], deadline: TimeLimit
) -> Plugins:
    sensors: defaultdict[str, list[Contribution]] = defaultdict(list)
    triggers: defaultdict[str, list[Contribution]] = defaultdict(list)
    engines: defaultdict[str, list[Contribution]] = defaultdict(list)
    by_name = {report.name: report for report in reports if report.status == "ok"}
    for name, report in by_name.items():
        hooks = {
            caller.name: _by_name(each)
            for caller in manager.get_hookcallers(manager.get_plugin(name)) or ()
            for each in caller.get_hookimpls()
            if each.plugin_name == name
        }
        provision = provide(hooks, deadline)
        for problem in provision.problems:
            report.fault(problem)
        report.watches = tuple(sorted(hooks.keys() - _PROVIDING))
        for offered, found in (
            (provision.sensors, sensors),
            (provision.triggers, triggers),
            (provision.engines, engines),
        ):
            for what, value in offered.items():
                found[what].append(
                    Contribution(what, value, name, report.distribution, report.version)
                )
    plugins = Plugins(
        tuple(reports),
        _unshared("sensor", sensors, by_name),
        _unshared("trigger", triggers, by_name),
        _unshared("engine", engines, by_name),
        manager,
    )
    for name, report in by_name.items():
        report.sensors = _of(name, plugins.sensors)
        report.triggers = _of(name, plugins.triggers)
        report.engines = _of(name, plugins.engines)
    return plugins


def _of(plugin: str, provided: Mapping[str, Contribution]) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in provided.values() if each.plugin == plugin))


def _unshared(
    what: str, offers: Mapping[str, list[Contribution]], reports: Mapping[str, PluginReport]
) -> dict[str, Contribution]:
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
