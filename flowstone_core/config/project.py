"""..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.config.declarations.schedule import ScheduleDeclaration
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
    """Everything that a run needs, checked.

    Attributes:
        file: The configuration file, if there is one.
        run: The settings of the ``[flowstone]`` section.
        assets: All assets, each after those it depends on.
        sensors: All sensors by name.
        schedules: All schedules that files and pipelines declare, by name.
        triggers: Trigger classes by the name that configuration writes.
        plugins: What is installed.
        redactor: Hides every secret of the configuration.
        warnings: What works, but hardly as it was meant.
        engine: The class that carries materializations.
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
