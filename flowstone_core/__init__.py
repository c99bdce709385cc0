"""FlowStone turns "something happened" into "this partition of this asset is up to date".

The public names; each is imported when it is first used, so that ``import flowstone_core`` and
``flowstone --help`` cost next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowstone_core.app import Flowstone as Flowstone
    from flowstone_core.asset import Context as Context
    from flowstone_core.errors import Discard as Discard
    from flowstone_core.errors import FlowstoneError as FlowstoneError
    from flowstone_core.errors import RetryLater as RetryLater
    from flowstone_core.errors import SensorBroken as SensorBroken
    from flowstone_core.errors import ValidationError as ValidationError
    from flowstone_core.event import Event as Event
    from flowstone_core.event import NotTriggered as NotTriggered
    from flowstone_core.event import Outcome as Outcome
    from flowstone_core.event import PollFailed as PollFailed
    from flowstone_core.event import Triggered as Triggered
    from flowstone_core.hookspecs import hookimpl as hookimpl
    from flowstone_core.partition import Partition as Partition
    from flowstone_core.partition import decode_partition as decode_partition
    from flowstone_core.partition import encode_partition as encode_partition
    from flowstone_core.pipeline import Pipeline as Pipeline
    from flowstone_core.sensor import PollContext as PollContext
    from flowstone_core.sensor import Sensor as Sensor
    from flowstone_core.sensor import SensorConfig as SensorConfig
    from flowstone_core.sensor import function_sensor as function_sensor
    from flowstone_core.settings import Duration as Duration
    from flowstone_core.trigger import Trigger as Trigger
    from flowstone_core.triggers.cron import CronTrigger as CronTrigger
    from flowstone_core.triggers.every import EveryTrigger as EveryTrigger

_HOMES = {
    "Context": "asset",
    "CronTrigger": "triggers.cron",
    "Discard": "errors",
    "Duration": "settings",
    "Event": "event",
    "EveryTrigger": "triggers.every",
    "Flowstone": "app",
    "FlowstoneError": "errors",
    "NotTriggered": "event",
    "Outcome": "event",
    "Partition": "partition",
    "Pipeline": "pipeline",
    "PollContext": "sensor",
    "PollFailed": "event",
    "RetryLater": "errors",
    "Sensor": "sensor",
    "SensorBroken": "errors",
    "SensorConfig": "sensor",
    "Trigger": "trigger",
    "Triggered": "event",
    "ValidationError": "errors",
    "decode_partition": "partition",
    "encode_partition": "partition",
    "function_sensor": "sensor",
    "hookimpl": "hookspecs",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
