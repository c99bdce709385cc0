"""Was written for a core that is not there yet."""

from flowstone_core import hookimpl

FLOWSTONE_API = 999


@hookimpl
def flowstone_sensors():
    return {}
