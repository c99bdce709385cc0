"""Plugin whose watcher raises; discovery cannot detect it."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
def flowstone_triggered(event):
    raise RuntimeError("the pager has no battery")
