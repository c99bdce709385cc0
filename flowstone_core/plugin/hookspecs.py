"""What a plugin may provide and what it may watch.

A plugin is an entry point of the group ``flowstone`` that names a module or an object with hook
implementations::

    from flowstone_core import hookimpl

    FLOWSTONE_API = 1

    @hookimpl
    def flowstone_sensors():
        return {"my_sensor": MySensor}

``FLOWSTONE_API`` states the version of this contract that the plugin was written for; without it,
or with one that this core does not know, the plugin is refused. Hook arguments are passed by
name, so a hook may take only those it needs, and later versions may add some.

A hook that raises, whatever it raises, harms its own plugin only. So does one that hangs, or a
plugin whose import does: each is called in a thread of its own, and past 30 s it counts as broken.
What Python allows in the main thread only, such as to set a signal's handler, fails there.
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

    ``{"business_days": BusinessDays}`` lets a schedule say ``business_days = 08:00``, which makes
    ``BusinessDays("08:00", timezone)``. Called once, after all plugins are loaded.
    """


@hookspec
def flowstone_engines() -> Mapping[str, type[Engine]]:  # type: ignore[empty-body]
    """Return engine classes by the name that configuration writes as ``engine``.

    Called once, after all plugins are loaded.
    """


@hookspec
def flowstone_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return click commands by name; they appear under ``flowstone``.

    Called only when a command is run or ``--help`` is asked for. A name that FlowStone itself
    uses is refused.
    """


@hookspec
def flowstone_tick_finished(tick: Tick) -> None:
    """Watch: a tick that was not quiet is committed.

    Called after the commit, in the observers' own thread, in the order of the commits. It can
    neither delay nor undo anything; what it raises is logged with the plugin's name.
    """


@hookspec
def flowstone_triggered(event: StoredEvent) -> None:
    """Watch: an event that a tick found is committed. Called like `flowstone_tick_finished`.

    What an operator asks for, or an asset that follows another, is told by
    `flowstone_materialization_changed` alone.
    """


@hookspec
def flowstone_materialization_changed(materialization: Materialization) -> None:
    """Watch: a materialization is in a new state. Called like `flowstone_tick_finished`."""


@hookspec
def flowstone_sensor_stale(sensor: str, since: datetime) -> None:
    """Watch: a sensor has had no good poll for its ``stale_after``, whatever the reason.

    Told once; what its polls come to is told by `flowstone_tick_finished`, the good one that ends
    it too. Called like `flowstone_tick_finished`.

    Args:
        sensor: Its name.
        since: When its last good poll ended, or when its runner began to poll it.
    """


@hookspec
def flowstone_runner_started(runner: RunnerInfo) -> None:
    """Watch: a runner has started. Called like `flowstone_tick_finished`."""


@hookspec
def flowstone_runner_stopping(runner: RunnerInfo) -> None:
    """Watch: a runner is about to stop. Called like `flowstone_tick_finished`."""
