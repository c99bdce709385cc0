"""Plugin that provides an object that is not a sensor, beside a valid sensor."""

from flowstone_core import NotTriggered, function_sensor, hookimpl

FLOWSTONE_API = 1


@function_sensor()
def silence(state):
    return NotTriggered(state)


@hookimpl
def flowstone_sensors():
    return {"silence": silence, "dictionary": dict}
