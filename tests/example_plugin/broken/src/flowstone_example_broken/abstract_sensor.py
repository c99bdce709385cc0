"""Plugin that provides a sensor class without a ``poll``."""

from flowstone_core import Sensor, SensorConfig, hookimpl

FLOWSTONE_API = 1


class Unfinished(Sensor[SensorConfig, None]):
    """Cannot be made."""

    def init(self) -> None:
        """Begin."""


@hookimpl
def flowstone_sensors():
    return {"unfinished": Unfinished}
