"""Plugin whose sensors, triggers and engine have names that are taken."""

from flowstone_core import CronTrigger, NotTriggered, function_sensor, hookimpl
from flowstone_core.plugin_api import Engine

FLOWSTONE_API = 1


class Idle(Engine):
    """An engine that never does anything."""

    def start(self):
        raise NotImplementedError

    def wake(self):
        raise NotImplementedError

    def drain(self, timeout=None):
        raise NotImplementedError

    def stop(self, grace):
        raise NotImplementedError


@function_sensor()
def stillness(state):
    return NotTriggered(state)


@hookimpl
def flowstone_sensors():
    return {"countdown": stillness, "s3_file_arrival": stillness, "stillness": stillness}


@hookimpl
def flowstone_triggers():
    return {"cron": CronTrigger, "business_days": CronTrigger}


@hookimpl
def flowstone_engines():
    return {"local": Idle}
