"""Provides a command that is none."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_commands():
    return {"shout": print}
