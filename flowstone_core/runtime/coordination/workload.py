"""Workload: the assets, sensors and schedules that a runner is able to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.store import DeclaredSchedule, ScheduleRecord

BuildSchedule: TypeAlias = Callable[[ScheduleRecord], Schedule]
"""Builds a schedule from its record; called in any thread, and may raise anything."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Assets, sensors and schedules of a project, as one runner may be assigned them.

    Attributes:
        assets: All assets.
        sensors: Declared sensors by name; a disabled one is never assigned.
        schedules: Schedules that files and pipelines declare; the store has more.
        build_schedule: Builds a schedule from its record; without it no schedule is assigned.
    """

    assets: AssetGraph
    sensors: Mapping[str, SensorDeclaration] = field(default_factory=dict)
    schedules: Mapping[str, DeclaredSchedule] = field(default_factory=dict)
    build_schedule: BuildSchedule | None = None

    @property
    def enabled_sensors(self) -> list[SensorDeclaration]:
        """The declared sensors that are not disabled."""
        return [sensor for sensor in self.sensors.values() if sensor.settings.enabled]
