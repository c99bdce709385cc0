"""Public names for engines, watchers, commands, receivers, and sensors with functions in settings.

``docs/plugin-api.md`` lists them. Most sensors, triggers and pipelines need `flowstone_core` alone.
Each name is imported on first use, because every command imports every plugin.
"""

from typing import TYPE_CHECKING

import flowstone_core

if TYPE_CHECKING:
    from flowstone_core.cli.session import command_flowstone as command_flowstone
    from flowstone_core.errors import AttemptTimeoutError as AttemptTimeoutError
    from flowstone_core.errors import ChildDiedError as ChildDiedError
    from flowstone_core.errors import InvalidSecretError as InvalidSecretError
    from flowstone_core.errors import OutcomeError as OutcomeError
    from flowstone_core.errors import PluginError as PluginError
    from flowstone_core.errors import PollTimeoutError as PollTimeoutError
    from flowstone_core.errors import Problem as Problem
    from flowstone_core.errors import StaleAttemptError as StaleAttemptError
    from flowstone_core.errors import StoreLostError as StoreLostError
    from flowstone_core.errors import StoreUnavailableError as StoreUnavailableError
    from flowstone_core.model.asset import Asset as Asset
    from flowstone_core.model.asset import AssetGraph as AssetGraph
    from flowstone_core.model.attempt_result import AttemptResult as AttemptResult
    from flowstone_core.model.callables import fit_function as fit_function
    from flowstone_core.model.clock import Clock as Clock
    from flowstone_core.model.clock import Waker as Waker
    from flowstone_core.model.engine import AttemptEnd as AttemptEnd
    from flowstone_core.model.engine import ClaimRound as ClaimRound
    from flowstone_core.model.engine import EndRound as EndRound
    from flowstone_core.model.engine import Engine as Engine
    from flowstone_core.model.engine import EngineSetup as EngineSetup
    from flowstone_core.model.engine import MaterializationQueue as MaterializationQueue
    from flowstone_core.model.engine import RunnerInfo as RunnerInfo
    from flowstone_core.model.event import StoredEvent as StoredEvent
    from flowstone_core.model.materialization import AttemptOutcome as AttemptOutcome
    from flowstone_core.model.materialization import Claim as Claim
    from flowstone_core.model.materialization import Materialization as Materialization
    from flowstone_core.model.materialization import MaterializationState as MaterializationState
    from flowstone_core.model.setting_types import Verbatim as Verbatim
    from flowstone_core.model.tick import Tick as Tick
    from flowstone_core.model.tick import TickOutcome as TickOutcome
    from flowstone_core.model.url_text import has_unescaped_at as has_unescaped_at
    from flowstone_core.plugin.hookspecs import flowstone_commands as flowstone_commands
    from flowstone_core.plugin.hookspecs import flowstone_engines as flowstone_engines
    from flowstone_core.plugin.hookspecs import (
        flowstone_materialization_changed as flowstone_materialization_changed,
    )
    from flowstone_core.plugin.hookspecs import flowstone_runner_started as flowstone_runner_started
    from flowstone_core.plugin.hookspecs import (
        flowstone_runner_stopping as flowstone_runner_stopping,
    )
    from flowstone_core.plugin.hookspecs import flowstone_sensor_stale as flowstone_sensor_stale
    from flowstone_core.plugin.hookspecs import flowstone_sensors as flowstone_sensors
    from flowstone_core.plugin.hookspecs import flowstone_tick_finished as flowstone_tick_finished
    from flowstone_core.plugin.hookspecs import flowstone_triggered as flowstone_triggered
    from flowstone_core.plugin.hookspecs import flowstone_triggers as flowstone_triggers
    from flowstone_core.plugin.hookspecs import hookimpl as hookimpl
    from flowstone_core.runtime.engine.run_attempt import run_attempt as run_attempt
    from flowstone_core.scheduling.foreign_template import foreign_template as foreign_template
    from flowstone_core.scheduling.partition_template import (
        PartitionTemplate as PartitionTemplate,
    )
    from flowstone_core.scheduling.time_zone import load_zone as load_zone

_HOMES = {
    "Asset": "model.asset",
    "AssetGraph": "model.asset",
    "AttemptEnd": "model.engine",
    "AttemptOutcome": "model.materialization",
    "AttemptResult": "model.attempt_result",
    "AttemptTimeoutError": "errors",
    "ChildDiedError": "errors",
    "Claim": "model.materialization",
    "ClaimRound": "model.engine",
    "Clock": "model.clock",
    "EndRound": "model.engine",
    "Engine": "model.engine",
    "EngineSetup": "model.engine",
    "InvalidSecretError": "errors",
    "Materialization": "model.materialization",
    "MaterializationQueue": "model.engine",
    "MaterializationState": "model.materialization",
    "OutcomeError": "errors",
    "PartitionTemplate": "scheduling.partition_template",
    "PluginError": "errors",
    "PollTimeoutError": "errors",
    "Problem": "errors",
    "RunnerInfo": "model.engine",
    "StaleAttemptError": "errors",
    "StoreLostError": "errors",
    "StoreUnavailableError": "errors",
    "StoredEvent": "model.event",
    "Tick": "model.tick",
    "TickOutcome": "model.tick",
    "Verbatim": "model.setting_types",
    "Waker": "model.clock",
    "command_flowstone": "cli.session",
    "fit_function": "model.callables",
    "flowstone_commands": "plugin.hookspecs",
    "flowstone_engines": "plugin.hookspecs",
    "flowstone_materialization_changed": "plugin.hookspecs",
    "flowstone_runner_started": "plugin.hookspecs",
    "flowstone_runner_stopping": "plugin.hookspecs",
    "flowstone_sensor_stale": "plugin.hookspecs",
    "flowstone_sensors": "plugin.hookspecs",
    "flowstone_tick_finished": "plugin.hookspecs",
    "flowstone_triggered": "plugin.hookspecs",
    "flowstone_triggers": "plugin.hookspecs",
    "foreign_template": "scheduling.foreign_template",
    "has_unescaped_at": "model.url_text",
    "hookimpl": "plugin.hookspecs",
    "load_zone": "scheduling.time_zone",
    "run_attempt": "runtime.engine.run_attempt",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = flowstone_core.lazy_names(globals(), _HOMES)
