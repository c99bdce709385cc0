"""A sensor that counts down."""

from __future__ import annotations

from pydantic import Field

from flowstone_core import NotTriggered, Outcome, Sensor, SensorConfig, Triggered


class CountdownConfig(SensorConfig):
    """The settings of a countdown."""

    start: int = Field(3, ge=0, description="how many polls until it fires")


class Countdown(Sensor[CountdownConfig, int]):
    """Fires once, when its count has reached zero."""

    Config = CountdownConfig

    def init(self) -> int:
        """Begin at the top."""
        return self.config.start

    def poll(self, state: int) -> Outcome[int]:
        """Count one down."""
        if state == 1:
            return Triggered("lift-off", state=0)
        return NotTriggered(max(state - 1, 0))
