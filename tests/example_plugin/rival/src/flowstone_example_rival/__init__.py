"""A plugin that gives its sensors names that others have given theirs."""

from flowstone_core import NotTriggered, function_sensor, hookimpl

FLOWSTONE_API = 1


@function_sensor()
def stillness(state):
    return NotTriggered(state)


@hookimpl
def flowstone_sensors():
    return {"countdown": stillness, "s3_file_arrival": stillness, "stillness": stillness}
