"""Returns a list where a mapping is asked for."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_sensors():
    return ["countdown"]
