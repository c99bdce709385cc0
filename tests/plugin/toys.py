"""Toy plugins: sources of plugins that tests install, and the reports on them."""

from __future__ import annotations

from textwrap import dedent

from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.registry import Plugins

API = "from flowstone_core import *\nfrom flowstone_core import hookimpl\nFLOWSTONE_API = 1\n"
SENSORS = API + dedent(
    """
    @function_sensor()
    def still(state):
        return NotTriggered(state)

    def interrupt():
        raise KeyboardInterrupt

    @hookimpl
    def flowstone_sensors():
        return {names}
    """
)
COMMANDS = API + dedent(
    """
    import click

    @click.command()
    def greet(): pass

    @hookimpl
    def flowstone_commands():
        return {commands}
    """
)


def report(plugins: Plugins, name: str, distribution: str | None = None) -> PluginReport:
    (found,) = (
        each
        for each in plugins.reports
        if each.name == name and distribution in {None, each.distribution}
    )
    return found


def broken(site, source: str) -> str:
    """Install a plugin of this source beside a sound one, and return what is said of it."""
    site.install("toys", "2.5", toy=source)
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    plugins = discover()
    assert report(plugins, "neighbour").status == "ok"
    assert "near" in plugins.sensors
    found = report(plugins, "toy")
    assert (found.distribution, found.version, found.status) == ("toys", "2.5", "broken")
    assert found.error is not None
    return found.error
