"""Role of a runner: it ticks, it materializes, or both."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Role of a runner among those that share a store."""

    ALL = "all"
    """Ticks sensors and schedules, and runs materializations."""
    SENSORS = "sensors"
    """Ticks sensors and schedules, and never claims a materialization."""
    WORKERS = "workers"
    """Runs materializations, and ticks nothing."""

    @property
    def ticks(self) -> bool:
        """True if a runner of this role ticks sensors and schedules."""
        return self is not Role.WORKERS

    @property
    def materializes(self) -> bool:
        """True if a runner of this role runs materializations."""
        return self is not Role.SENSORS
