"""Discovery: finds, imports, registers and checks every installed plugin.

stevedore imports (`entry_points`), pluggy specifies and calls. pluggy accepts a misspelt hook, and
one hook that raises would end a whole call: so each plugin is checked and called separately.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pluggy

from flowstone_core.errors import did_you_mean
from flowstone_core.model.callables import is_deferred
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
    refuse_shared_names,
)
from flowstone_core.plugin.hookspecs import API_VERSION, PROJECT
from flowstone_core.plugin.labels import normalized_name
from flowstone_core.plugin.registry import PROVIDING, Plugins, _by_name, new_manager
from flowstone_core.plugin.time_limit import TimeLimit


def discover(
    allow: Collection[str] | None = None,
    disabled: Collection[str] = (),
    limit: TimeLimit | None = None,
) -> Plugins:
    """Find, import, register and check every plugin that is installed.

    Nothing is kept between calls. Foreign code runs in separate threads: a plugin that does not
    return is broken, and its late results are discarded.

    Args:
        allow: Distributions that are loaded; all if None. The core's own plugin always is.
        disabled: Entry points or distributions that are not loaded, in addition to those in the
            environment variable `DISABLE_VARIABLE`.
        limit: Time limit of each import, each inspection and each hook.

    Raises:
        KeyboardInterrupt: If Ctrl-C ends the wait for a plugin.
    """
    variable = os.environ.get(DISABLE_VARIABLE, "")
    blocked = {normalized_name(name) for name in (*disabled, *variable.split(","))} - {""}
    allowed = None if allow is None else set(map(normalized_name, allow))
    found = installed()
    reports = [report for _, report in found]
    for report in reports:
        distribution = normalized_name(report.distribution)
        if distribution == CORE:
            continue
        if allowed is not None and distribution not in allowed:
            report.status, report.error = "blocked", "its distribution is not in 'plugins'"
        elif blocked & {normalized_name(report.name), distribution}:
            report.status, report.error = "blocked", "it is disabled"
    refuse_shared_names(reports)
    limit = limit or TimeLimit()
    return _provided(_registered(found, limit), reports, limit)


def _registered(found: Installed, limit: TimeLimit) -> pluggy.PluginManager:
    manager = new_manager()
    by_name = {report.name: report for _, report in found if report.status == "ok"}
    owners: dict[int, str] = {}
    for extension in sorted(Loader(found, limit), key=lambda each: each.name):
        plugin, report = extension.plugin, by_name[extension.name]
        owner = owners.setdefault(id(plugin), report.owner)
        if owner != report.owner:
            report.fault(f"duplicate plugin: same module or object as {owner}")
            continue
        inspection = limit.call(partial(_inspect, plugin, report.name))
        if inspection is None:
            report.fault(f"cannot read its hooks: {limit.passed}")
        elif inspection.problems:
            for problem in inspection.problems:
                report.fault(problem, inspection.hint)
        else:
            manager.register(_Hooks(inspection.hooks), name=report.name)
    return manager


@dataclass(frozen=True, slots=True)
class _Inspection:
    """Inspection of a plugin: its hooks, or its problems."""

    hooks: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    problems: Sequence[str] = ()
    hint: str | None = None


class _Hooks:
    """The hooks of a plugin, copied: the plugin's attributes may change on the next access."""

    def __init__(self, hooks: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(hooks)


def _inspect(plugin: object, name: str) -> _Inspection:
    """Inspect one plugin; its exceptions are contained."""
    try:
        written_for = getattr(plugin, "FLOWSTONE_API", None)
        if written_for != API_VERSION:
            states = (
                "missing FLOWSTONE_API"
                if written_for is None
                else f"unsupported API {written_for!r:.40}"
            )
            hint = f"install one that states FLOWSTONE_API = {API_VERSION}, or another core"
            return _Inspection({}, [f"{states}: this core supports API {API_VERSION}"], hint)
        manager = new_manager()
        manager.register(plugin, name=name)
        misfits = [
            f"invalid hook implementation: {misfit}" for misfit in find_misfits(manager, plugin)
        ]
        callers = manager.get_hookcallers(plugin) or ()
        hooks = {caller.name: caller.get_hookimpls()[0].function for caller in callers}
        return _Inspection(hooks, misfits)
    except BaseException as error:  # noqa: BLE001 - a plugin's attributes are foreign code too
        return _Inspection(
            {}, [f"invalid hook implementation: {' '.join(describe(error).split())}"]
        )


def find_misfits(manager: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    """Yield a problem for each hook that would never be called, or not run when called.

    pluggy's own check reports one misspelt hook only, without a suggestion.
    """
    callers = {caller.name: caller for caller in manager.get_hookcallers(plugin) or ()}
    for name, caller in callers.items():
        own = caller.get_hookimpls()
        if not caller.has_spec() and not all(each.optionalhook for each in own):
            known = (each for each in vars(hookspecs) if each.startswith(f"{PROJECT}_"))
            yield f"unknown hook {name!r}, {did_you_mean(name, known)}".rstrip(", ")
        if len(own) > 1:
            yield f"{name!r} is implemented {len(own)} times"
        if any(is_deferred(each.function) for each in own):
            yield f"{name!r} is a generator or an async function, which nothing would run"


def _provided(
    manager: pluggy.PluginManager, reports: Sequence[PluginReport], limit: TimeLimit
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
        contributions = provide(hooks, limit)
        for problem in contributions.problems:
            report.fault(problem)
        report.watches = tuple(sorted(hooks.keys() - PROVIDING))
        for offered, found in (
            (contributions.sensors, sensors),
            (contributions.triggers, triggers),
            (contributions.engines, engines),
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
    """Return the contributions with a unique name; report the others, which are ambiguous.

    Contributions of the core stay: a plugin can neither replace nor remove them.
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
                    f"duplicate {what} {name!r}: provided by {owners}",
                    f"uninstall one of them, or disable it with {DISABLE_VARIABLE}",
                )
    return found
