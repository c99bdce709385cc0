"""Plugin whose watcher is a coroutine, which is never run."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
async def flowstone_triggered(event):
    raise NotImplementedError
