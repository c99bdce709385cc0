"""Plugin that implements an unknown hook."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_sensor():
    return {}
