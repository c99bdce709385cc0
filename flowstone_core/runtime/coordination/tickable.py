"""Tickable: the names of all that a runner is able to tick, for the shares of the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from flowstone_core.model.json_document import JsonObject


@dataclass(frozen=True, slots=True)
class Tickable:
    """All that a runner is able to tick.

    Attributes:
        sensors: Names of its enabled sensors.
        schedules: Names of the schedules that its files and pipelines declare.
        assets: Names of its assets: it ticks the schedules of these that nothing declares.
    """

    sensors: frozenset[str] = frozenset()
    schedules: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()

    def has(self, kind: str, name: str, asset: str | None) -> bool:
        """Return True if the runner is able to tick a sensor or a schedule.

        Args:
            kind: ``sensor`` or ``schedule``.
            name: Its name.
            asset: The asset of a schedule that nothing declares, else None.
        """
        if kind == "sensor":
            return name in self.sensors
        return name in self.schedules or (asset is not None and asset in self.assets)

    @property
    def digest(self) -> str:
        """A short text that is the same for the same names."""
        return hashlib.sha256(json.dumps(self.dump()).encode()).hexdigest()

    def dump(self) -> dict[str, list[str]]:
        """Return the names as JSON, for `parse`."""
        return {
            "sensors": sorted(self.sensors),
            "schedules": sorted(self.schedules),
            "assets": sorted(self.assets),
        }

    @classmethod
    def parse(cls, loaded: JsonObject) -> Tickable | None:
        """Return the names that `dump` returned; None if they are anything else."""
        found = [loaded.get(each) for each in ("sensors", "schedules", "assets")]
        names = [frozenset(map(str, each)) for each in found if isinstance(each, list)]
        return cls(*names) if len(names) == len(found) else None

    @classmethod
    def of(
        cls, sensors: Iterable[str], schedules: Iterable[str], assets: Iterable[str]
    ) -> Tickable:
        """Return the names of the given sensors, schedules and assets."""
        return cls(frozenset(sensors), frozenset(schedules), frozenset(assets))
