"""Hook specifications: the hooks with which a plugin provides things and watches events.

A plugin is an entry point of the group ``flowstone`` that names a module or an object with hook
implementations::

    from flowstone_core import hookimpl

    FLOWSTONE_API = 1

    @hookimpl
    def flowstone_sensors():
        return {"my_sensor": MySensor}

``FLOWSTONE_API`` states the version of this contract that the plugin was written for. A plugin
without it, or with a version that this core does not know, is refused. Hook arguments are passed
by name, so a hook may take only those it needs, and later versions may add some.

A hook that raises any exception affects its own plugin only. So does a hook or an import that
hangs: each runs in a separate thread, and counts as broken after 30 s. Calls that Python allows in
the main thread only, such as setting a signal handler, fail there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from datetime import datetime

    import click

    from flowstone_core.model.engine import Engine, RunnerInfo
    from flowstone_core.model.event import StoredEvent
    from flowstone_core.model.materialization import Materialization
    from flowstone_core.model.sensor import Sensor
    from flowstone_core.model.tick import Tick
    from flowstone_core.scheduling.trigger import Trigger

PROJECT = "flowstone"
"""The name of the pluggy project and of the entry-point group."""

API_VERSION = 1
"""The version of this contract."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def flowstone_sensors() -> Mapping[str, type[Sensor[Any, Any]]]:  # type: ignore[empty-body]
    """Return sensor classes by the name that configuration writes as ``type``.

    Called once, after all plugins are loaded. Import heavy packages inside the sensor, not at the
    top of the plugin: every command pays for what is imported here.
    """


@hookspec
def flowstone_triggers() -> Mapping[str, type[Trigger]]:  # type: ignore[empty-body]
    """Return trigger classes by the name that configuration writes as the setting of a schedule.

    ``{"business_days": BusinessDays}`` lets a schedule set ``business_days = 08:00``, which calls
    ``BusinessDays("08:00", timezone)``. Called once, after all plugins are loaded.
    """


@hookspec
def flowstone_engines() -> Mapping[str, type[Engine]]:  # type: ignore[empty-body]
    """Return engine classes by the name that configuration writes as ``engine``.

    Called once, after all plugins are loaded.
    """


@hookspec
def flowstone_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return click commands by name; ``flowstone --help`` lists them under a separate heading.

    Called only for ``--help`` and for a command that is not built in; a built-in command wins over
    one of the same name. In a command, `flowstone_core.plugin_api.command_flowstone` returns the
    Flowstone that ``--config`` chose.
    """


@hookspec
def flowstone_tick_finished(tick: Tick) -> None:
    """Called after a tick that was not quiet is committed.

    Called in the dispatcher's thread, in the order of the commits. A hook can neither delay nor
    undo anything; an exception is logged with the plugin's name.
    """


@hookspec
def flowstone_triggered(event: StoredEvent) -> None:
    """Called after an event that a tick found is committed.

    Called like `flowstone_tick_finished`. Materializations requested by an operator or by an asset
    with ``follow`` call `flowstone_materialization_changed` only.
    """


@hookspec
def flowstone_materialization_changed(materialization: Materialization) -> None:
    """Called after a materialization changed its state; like `flowstone_tick_finished`."""


@hookspec
def flowstone_sensor_stale(sensor: str, since: datetime) -> None:
    """Called once when no poll of a sensor has succeeded for its ``stale_after``.

    Called like `flowstone_tick_finished`, which also reports every poll that is not quiet, and the
    good one that ends the staleness.

    Args:
        sensor: The sensor's name.
        since: When its last good poll ended, or when its runner began to poll it.
    """


@hookspec
def flowstone_runner_started(runner: RunnerInfo) -> None:
    """Called after a runner has started; like `flowstone_tick_finished`."""


@hookspec
def flowstone_runner_stopping(runner: RunnerInfo) -> None:
    """Called before a runner stops; like `flowstone_tick_finished`."""
