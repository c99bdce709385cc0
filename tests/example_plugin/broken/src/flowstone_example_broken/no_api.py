"""Plugin without FLOWSTONE_API."""

from flowstone_core import hookimpl


@hookimpl
def flowstone_sensors():
    return {}
