"""Does not say for which core it was written."""

from flowstone_core import hookimpl


@hookimpl
def flowstone_sensors():
    return {}
