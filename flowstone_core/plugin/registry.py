"""..."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pluggy

from flowstone_core.plugin import hookspecs
from flowstone_core.plugin.contributions import Contribution, provide_commands
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.hookspecs import PROJECT
from flowstone_core.plugin.time_limit import TimeLimit

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class Plugins:
    """What is installed.

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

    def watchers(self, hook: str) -> Sequence[tuple[str, Callable[..., object]]]:
        """Return the implementations of a hook, each to be called alone.

        Returns:
            For each the plugin's name, and a function of the hook's arguments by name.
        """
        if self._manager is None:
            return ()
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        return [(each.plugin_name, _by_name(each)) for each in implementations]

    def commands(
        self, deadline: TimeLimit | None = None
    ) -> tuple[Mapping[str, click.Command], Sequence[str]]:
        """Ask the plugins for their commands, when a command is not one of FlowStone's own.

        Args:
            deadline: Each plugin has this long.

        Returns:
            The commands by name, and everything that is wrong with others: of a name that several
            provide, none is there.

        Raises:
            KeyboardInterrupt: If somebody does not want to wait for a plugin.
        """
        import click

        offers: defaultdict[str, dict[str, click.Command]] = defaultdict(dict)
        wrong: list[str] = []
        for plugin, call in self.watchers("flowstone_commands"):
            provision = provide_commands(call, click.Command, deadline)
            wrong += (f"plugin {plugin!r}: {problem}" for problem in provision.problems)
            for name, command in provision.commands.items():
                offers[name][plugin] = command
        commands = {}
        for name, offered in offers.items():
            if len(offered) == 1:
                (commands[name],) = offered.values()
            else:
                owners = " and ".join(map(repr, offered))
                wrong.append(f"the command {name!r} is provided by several plugins: {owners}")
        return commands, wrong


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _by_name(implementation: pluggy.HookImpl) -> Callable[..., object]:
    def call(**arguments: object) -> object:
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    return call
