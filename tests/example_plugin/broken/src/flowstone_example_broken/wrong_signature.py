"""Asks a hook for an argument that it does not have."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_triggered(event, registry):
    raise NotImplementedError
