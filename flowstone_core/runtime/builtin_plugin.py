"""Built-in plugin: registers the triggers and the engine of the core, like any other plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowstone_core.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from flowstone_core.model.engine import Engine
    from flowstone_core.scheduling.trigger import Trigger

FLOWSTONE_API = 1


@hookimpl
def flowstone_triggers() -> dict[str, type[Trigger]]:
    """Provide ``cron`` and ``every``."""
    from flowstone_core.scheduling.builtin_triggers import BUILT_IN

    return dict(BUILT_IN)


@hookimpl
def flowstone_engines() -> dict[str, type[Engine]]:
    """Provide the embedded engine."""
    from flowstone_core.runtime.engine.local_engine import LocalEngine

    return {"local": LocalEngine}
