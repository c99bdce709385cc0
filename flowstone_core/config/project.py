"""Project: the validated whole of settings, assets, sensors, schedules and plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.config.declarations.schedule_declaration import ScheduleDeclaration
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.errors import Problem
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import Engine
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.plugin.registry import Plugins
from flowstone_core.scheduling.schedule import Triggers


@dataclass(frozen=True)
class Project:
    """Everything that a runner needs, validated.

    Attributes:
        file: The configuration file, or None.
        run: The settings of the ``[flowstone]`` section.
        assets: All assets, each after those it depends on.
        sensors: All sensors by name.
        schedules: All schedules that files and pipelines declare, by name.
        triggers: Trigger classes by their names in the configuration.
        plugins: The installed plugins.
        redactor: Hides every secret of the configuration.
        warnings: Findings that do not prevent a run.
        engine: The class that runs materializations.
    """

    file: Path | None
    run: RunSettings
    assets: AssetGraph
    sensors: Mapping[str, SensorDeclaration]
    schedules: Mapping[str, ScheduleDeclaration]
    triggers: Triggers
    plugins: Plugins
    redactor: Redactor
    warnings: tuple[Problem, ...]
    engine: type[Engine]
