"""Plugin written for a future version of the core."""

from flowstone_core import hookimpl

FLOWSTONE_API = 999


@hookimpl
def flowstone_sensors():
    return {}
