"""Plugin that provides an object that is not a command."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_commands():
    return {"shout": print}
