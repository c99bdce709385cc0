"""Callables given by users and plugins: their arguments, and calls that run nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def is_async(function: object) -> bool:
    """Return True for an async function, or an object whose call is one."""
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in _called(function)
    )


def is_deferred(function: object) -> bool:
    """Return True if a call only creates a coroutine or a generator and runs nothing."""
    return is_async(function) or any(map(inspect.isgeneratorfunction, _called(function)))


def fit_function(function: Callable[..., R], *parameters: str, least: int = 1) -> Callable[..., R]:
    """Return a function that takes all parameters, and passes on as many as the given one takes.

    So a setting may be a function of the body and the facts of a response, or of the body alone.
    The most that a function takes are passed; one written in C, whose parameters are unknown, gets
    the first alone.

    Args:
        function: The function of a user.
        parameters: The arguments that it may take, in order, in the words of a message, such as
            ``the body``.
        least: Fewest arguments that it may take.

    Raises:
        ValueError: If the function takes another number of arguments, or is async or a generator.

    Example:
        >>> fit_function(lambda body: body["day"], "the body", "the facts")({"day": 5}, None)
        5
    """
    if is_deferred(function):
        raise ValueError("must not be async or a generator: a call would return no value")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function written in C may have none
        return _passing(function, 1)
    for count in range(len(parameters), least - 1, -1):
        if _binds(signature, count):
            return function if count == len(parameters) else _passing(function, count)
    choices = (_listed(parameters[:count]) for count in range(len(parameters), least - 1, -1))
    names = ", ".join(signature.parameters)
    raise ValueError(f"must take {', or '.join(choices)}, not ({names})")


def _called(function: object) -> tuple[object, ...]:
    # An object with an async __call__ is not a coroutine function itself.
    return function, getattr(type(function), "__call__", None)  # noqa: B004


def _passing(function: Callable[..., R], count: int) -> Callable[..., R]:
    def passing(*arguments: Any) -> R:
        return function(*arguments[:count])

    return passing


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _listed(parameters: tuple[str, ...]) -> str:
    return " and ".join(parameters) or "nothing"
