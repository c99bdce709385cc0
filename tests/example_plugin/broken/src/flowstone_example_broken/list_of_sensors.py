"""Plugin whose hook returns a list instead of a mapping."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_sensors():
    return ["countdown"]
