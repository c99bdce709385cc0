"""Command table: imports the module of a command when the command is first used."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

SHORT_HELP = {
    "backfill": "Materialize a range of an asset's partitions.",
    "backfills": "List and cancel backfills.",
    "check": "Check the configuration and show what would run.",
    "db": "Upgrade, prune, back up, copy and check the store.",
    "events": "List events.",
    "explain": "Explain the state of a sensor, a schedule or a materialization.",
    "materializations": "Inspect, retry and cancel materializations.",
    "materialize": "Request one partition of an asset.",
    "new-plugin": "Create a plugin project with a sensor and its tests.",
    "plugins": "Inspect installed plugins.",
    "run": "Tick sensors and schedules, and run materializations.",
    "schedules": "Inspect and control schedules.",
    "sensors": "Inspect and control sensors.",
    "status": "Show runners, sensors, schedules and materializations.",
}
"""The line of each command in ``flowstone --help``, which imports none of them; a test compares
them with the commands' own."""

_MODULES = {
    "db": "database",
    "materialize": "materializations",
    "new-plugin": "new_plugin",
}
"""Modules that are not called like their command."""


class LazyCommands(MutableMapping[str, click.Command]):
    """FlowStone's own commands by name; each is imported when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = dict.fromkeys(SHORT_HELP)

    def __getitem__(self, name: str) -> click.Command:
        command = self._loaded[name]
        if command is None:
            module = import_module(f"flowstone_core.cli.{_MODULES.get(name, name)}")
            command = getattr(module, name.replace("-", "_"))
            assert isinstance(command, click.Command)  # noqa: S101 - the table names a command
            self._loaded[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
