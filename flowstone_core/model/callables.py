"""Callables given by users and plugins: functions whose call would not run their body."""

from __future__ import annotations

import inspect


def is_async(function: object) -> bool:
    """Return True for an async function or an async generator function."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_deferred(function: object) -> bool:
    """Return True if a call only creates a coroutine or a generator and runs nothing."""
    return is_async(function) or inspect.isgeneratorfunction(function)
