"""FlowStone turns "something happened" into "this partition of this asset is up to date".

Public names for pipelines and sensors; `flowstone_core.plugin_api` has those for engines, watchers
and receivers, `flowstone_core.testing` those for tests. Each name is imported on first use, so that
``import flowstone_core`` and ``flowstone --help`` cost next to nothing.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone as Flowstone
    from flowstone_core.config.pipeline import Pipeline as Pipeline
    from flowstone_core.errors import ConflictError as ConflictError
    from flowstone_core.errors import Discard as Discard
    from flowstone_core.errors import FlowstoneError as FlowstoneError
    from flowstone_core.errors import NotFoundError as NotFoundError
    from flowstone_core.errors import RetryLater as RetryLater
    from flowstone_core.errors import SensorBroken as SensorBroken
    from flowstone_core.errors import StoreError as StoreError
    from flowstone_core.errors import ValidationError as ValidationError
    from flowstone_core.model.asset import Context as Context
    from flowstone_core.model.event import Event as Event
    from flowstone_core.model.event import NotTriggered as NotTriggered
    from flowstone_core.model.event import Outcome as Outcome
    from flowstone_core.model.event import PollFailed as PollFailed
    from flowstone_core.model.event import Skipped as Skipped
    from flowstone_core.model.event import Triggered as Triggered
    from flowstone_core.model.partition import Partition as Partition
    from flowstone_core.model.partition import decode_partition as decode_partition
    from flowstone_core.model.partition import encode_partition as encode_partition
    from flowstone_core.model.partition import partition_from_text as partition_from_text
    from flowstone_core.model.sensor import PollContext as PollContext
    from flowstone_core.model.sensor import Sensor as Sensor
    from flowstone_core.model.sensor import SensorConfig as SensorConfig
    from flowstone_core.model.sensor import function_sensor as function_sensor
    from flowstone_core.model.setting_types import Duration as Duration
    from flowstone_core.plugin.hookspecs import hookimpl as hookimpl
    from flowstone_core.scheduling.cron import CronTrigger as CronTrigger
    from flowstone_core.scheduling.every import EveryTrigger as EveryTrigger
    from flowstone_core.scheduling.trigger import Trigger as Trigger

_HOMES = {
    "ConflictError": "errors",
    "Context": "model.asset",
    "CronTrigger": "scheduling.cron",
    "Discard": "errors",
    "Duration": "model.setting_types",
    "Event": "model.event",
    "EveryTrigger": "scheduling.every",
    "Flowstone": "app.flowstone",
    "FlowstoneError": "errors",
    "NotFoundError": "errors",
    "NotTriggered": "model.event",
    "Outcome": "model.event",
    "Partition": "model.partition",
    "Pipeline": "config.pipeline",
    "PollContext": "model.sensor",
    "PollFailed": "model.event",
    "RetryLater": "errors",
    "Sensor": "model.sensor",
    "SensorBroken": "errors",
    "SensorConfig": "model.sensor",
    "Skipped": "model.event",
    "StoreError": "errors",
    "Trigger": "scheduling.trigger",
    "Triggered": "model.event",
    "ValidationError": "errors",
    "decode_partition": "model.partition",
    "encode_partition": "model.partition",
    "function_sensor": "model.sensor",
    "hookimpl": "plugin.hookspecs",
    "partition_from_text": "model.partition",
}

__all__ = list(_HOMES)


def lazy_names(
    namespace: dict[str, object], homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a module that imports its names on first use.

    Args:
        namespace: The module's ``globals()``; names are kept there once they are imported.
        homes: Each public name with the module that defines it, below ``flowstone_core``.
    """

    def get(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"flowstone_core.{home}"), name)
        namespace[name] = value
        return value

    return get, lambda: list(homes)


__getattr__, __dir__ = lazy_names(globals(), _HOMES)
