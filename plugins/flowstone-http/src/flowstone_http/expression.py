"""JMESPath expressions, with errors that quote no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flowstone_core.plugin_api import PartitionTemplate
from flowstone_http.errors import ContentError

if TYPE_CHECKING:
    from pydantic import JsonValue


class Expression:
    """JMESPath expression.

    Args:
        text: The expression, in the syntax of https://jmespath.org.

    Raises:
        ValueError: If the expression is invalid.
    """

    def __init__(self, text: str) -> None:
        import jmespath
        from jmespath.exceptions import JMESPathError

        try:
            self._compiled = jmespath.compile(text)
        except JMESPathError as error:
            raise ValueError(_fault(text, error)) from None
        _check_functions(self._compiled.parsed)
        self._text = text

    @property
    def is_fixed(self) -> bool:
        """Whether the expression is a literal, which needs no body."""
        return bool(self._compiled.parsed["type"] == "literal")

    def search(self, body: JsonValue) -> JsonValue:
        """Return the value in a body; None if missing.

        Raises:
            ContentError: If the expression cannot be applied to the body.
        """
        from jmespath.exceptions import JMESPathError

        try:
            return cast("JsonValue", self._compiled.search(body))
        except (JMESPathError, ArithmeticError, TypeError, ValueError):
            pass
        # The text of the library's error quotes the body.
        raise ContentError(
            f"{self._text!r:.200} cannot be applied to the response: a function or an operator got "
            "a value of another type",
            hint="compare the expression with the JSON of the response",
        )


def _check_functions(node: Mapping[str, Any]) -> None:
    """Refuse unknown functions and wrong numbers of arguments, which fail only when called.

    Args:
        node: The parsed expression; a node has a type, a value and children.
    """
    from jmespath.functions import Functions

    children = node["children"]
    if node["type"] == "function_expression":
        known, name = Functions.FUNCTION_TABLE, node["value"]
        if name not in known:
            raise ValueError(f"invalid JMESPath: unknown function {name!r:.40}")
        signature = known[name]["signature"]
        count, variadic = len(signature), any("variadic" in each for each in signature)
        if len(children) < count or (len(children) > count and not variadic):
            raise ValueError(
                f"invalid JMESPath: function {name!r} does not take {len(children)} arguments"
            )
    for child in children:
        if isinstance(child, Mapping):
            _check_functions(child)


def _fault(text: str, error: Exception) -> str:
    """Return a message for an invalid expression, without the library's words."""
    position = getattr(error, "lex_position", None)
    place = f" at {text[position:][:20]!r}" if position is not None and text[position:] else ""
    if not text.strip():
        return "empty JMESPath; see https://jmespath.org"
    if re.search(r"\s[#;](\s|$)", text):
        place = "; a comment belongs on a separate line"
    elif not place:
        place = " at its end; a bracket or a quote may be missing"
    return f"invalid JMESPath {text!r:.80}{place}"


def read_partition(text: str) -> Expression | PartitionTemplate:
    """Read a ``partition``: an expression, or a template such as ``${date}``.

    Raises:
        ValueError: If the text is neither.
    """
    if "${" not in text:
        return Expression(text)
    try:
        expression = Expression(text)
    except ValueError:
        return PartitionTemplate(text)
    if expression.is_fixed:
        raise ValueError("a template such as ${date} has no quotes around it")
    return expression


def is_true(value: JsonValue) -> bool:
    """Return True if the value of a ``check`` means ready.

    Raises:
        ContentError: If the value is a text: ``"false"`` and ``"pending"`` would be true.
    """
    if isinstance(value, str):
        raise ContentError(
            "check returned a text, which is neither true nor false",
            hint="compare the text, such as check = status == 'done'",
        )
    return bool(value)
