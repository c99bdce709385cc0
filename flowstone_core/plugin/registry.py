"""Registry of the installed plugins: their contributions, watching hooks and commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pluggy

from flowstone_core.plugin import hookspecs
from flowstone_core.plugin.contributions import Contribution, is_trigger_class, provide_commands
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.hookspecs import PROJECT
from flowstone_core.plugin.time_limit import TimeLimit

if TYPE_CHECKING:
    import click

    from flowstone_core.scheduling.trigger import Trigger

PROVIDING = frozenset(
    {"flowstone_sensors", "flowstone_triggers", "flowstone_engines", "flowstone_commands"}
)
"""The hooks that provide classes; all others but the commands watch."""


@dataclass(frozen=True)
class Plugins:
    """Registry of plugins: reports, contributions and hooks.

    Attributes:
        reports: Every entry point, sorted by distribution and name.
        sensors: Sensor classes by the name that configuration writes as ``type``.
        triggers: Trigger classes by the name that configuration writes as a schedule's setting.
        engines: Engine classes by the name that configuration writes as ``engine``.
    """

    reports: Sequence[PluginReport] = ()
    sensors: Mapping[str, Contribution] = field(default_factory=dict)
    triggers: Mapping[str, Contribution] = field(default_factory=dict)
    engines: Mapping[str, Contribution] = field(default_factory=dict)
    _manager: pluggy.PluginManager | None = field(default=None, repr=False)
    _pipelines: pluggy.PluginManager | None = field(default=None, repr=False)

    @property
    def trigger_classes(self) -> dict[str, type[Trigger]]:
        """The trigger classes by name."""
        return {
            name: provided.value
            for name, provided in self.triggers.items()
            if is_trigger_class(provided.value)
        }

    def watchers(self, hook: str) -> Sequence[tuple[str, Callable[..., object]]]:
        """Return the implementations of a hook, to be called separately.

        Returns:
            Pairs of the plugin's name and a function of the hook's arguments by name.
        """
        pipelines = None if hook in PROVIDING else self._pipelines
        managers = [each for each in (self._manager, pipelines) if each is not None]
        if not managers:
            return ()
        return [
            (each.plugin_name, _by_name(each))
            for manager in managers
            for each in getattr(manager.hook, hook).get_hookimpls()
        ]

    def has_functions_of(self, manager: pluggy.PluginManager, module: object) -> bool:
        """Return True if the hooks of a module are those of an installed plugin already."""
        if self._manager is None:
            return False
        plugins = self._manager.get_plugins()
        known = {
            id(function)
            for plugin in plugins
            for function in getattr(plugin, "__dict__", {}).values()
        }
        return any(
            id(each.function) in known
            for caller in manager.get_hookcallers(module) or ()
            for each in caller.get_hookimpls()
        )

    def commands(
        self, limit: TimeLimit | None = None
    ) -> tuple[Mapping[str, click.Command], Sequence[str]]:
        """Return the commands of all plugins; called when a command is not built in.

        Args:
            limit: Time limit of each plugin.

        Returns:
            The commands by name, and the problems of the others. A duplicate command is left out.

        Raises:
            KeyboardInterrupt: If Ctrl-C ends the wait for a plugin.
        """
        import click

        offers: defaultdict[str, dict[str, click.Command]] = defaultdict(dict)
        problems: list[str] = []
        for plugin, call in self.watchers("flowstone_commands"):
            contributions = provide_commands(call, click.Command, limit)
            problems += (f"plugin {plugin!r}: {problem}" for problem in contributions.problems)
            for name, command in contributions.commands.items():
                offers[name][plugin] = command
        commands = {}
        for name, offered in offers.items():
            if len(offered) == 1:
                (commands[name],) = offered.values()
            else:
                owners = " and ".join(map(repr, offered))
                problems.append(f"duplicate command {name!r}: provided by {owners}")
        return commands, problems


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows the hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _by_name(implementation: pluggy.HookImpl) -> Callable[..., object]:
    def call(**arguments: object) -> object:
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    return call
