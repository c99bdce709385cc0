"""Watches by a coroutine, which nothing would run."""

from flowstone_core import hookimpl

FLOWSTONE_API = 1


@hookimpl
async def flowstone_triggered(event):
    raise NotImplementedError
