"""Plugin whose hook requires an unknown argument."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_triggered(event, registry):
    raise NotImplementedError
