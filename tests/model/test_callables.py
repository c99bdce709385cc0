"""Callables: as many arguments are passed as a function takes, and another number is refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from flowstone_core.model.callables import fit_function, is_async, is_deferred


class Method:
    def of_body(self, body: object) -> object:
        return body

    def __call__(self, body: object, facts: object) -> object:
        return (body, facts)


class Async:
    async def __call__(self, body: object) -> object:
        return body


class Generator:
    def __call__(self, body: object) -> Any:
        yield body


def three(body: object, facts: object, more: object) -> object:
    return body, facts, more


@pytest.mark.parametrize(
    ("function", "passed"),
    [
        (lambda body: body, "body"),
        (lambda body, facts: (body, facts), ("body", "facts")),
        (lambda body, facts=None: (body, facts), ("body", "facts")),
        (lambda body, *, strict=False: (body, strict), ("body", False)),
        (lambda *given: given, ("body", "facts")),
        (Method().of_body, "body"),
        (Method(), ("body", "facts")),
        (functools.partial(three, more=3), ("body", "facts", 3)),
        (functools.partial(three, 1, 2), (1, 2, "body")),
        (str.upper, "BODY"),
        (str, "body"),
    ],
)
def test_U2_function_gets_as_many_arguments_as_it_takes(function: Any, passed: object) -> None:
    assert fit_function(function, "the body", "the facts")("body", "facts") == passed


@pytest.mark.parametrize("function", [three, lambda: 1, lambda *, body: body, Method.__call__])
def test_U2_function_of_another_arity_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="must take the body and the facts, or the body, not"):
        fit_function(function, "the body", "the facts")


def test_U2_refusal_names_the_parameters_and_no_default() -> None:
    with pytest.raises(ValueError, match=r"^must take the key, not \(a, b, token\)$"):
        fit_function(lambda a, b, token="hunter2": a, "the key")


def test_U2_function_that_may_take_nothing_gets_nothing() -> None:
    assert fit_function(lambda: "all", "the instant", least=0)("now") == "all"
    with pytest.raises(ValueError, match=r"must take the instant, or nothing, not \(a, b\)"):
        fit_function(lambda a, b: a, "the instant", least=0)


@pytest.mark.parametrize("function", [Async(), functools.partial(Async.__call__, None)])
def test_U2_async_call_is_async_and_refused(function: Any) -> None:
    assert is_async(function)
    assert is_deferred(function)
    with pytest.raises(ValueError, match="must not be async or a generator"):
        fit_function(function, "the body")


def test_U2_generator_call_is_deferred_and_not_async() -> None:
    assert is_deferred(Generator())
    assert not is_async(Generator())
    assert not is_deferred(Method())
