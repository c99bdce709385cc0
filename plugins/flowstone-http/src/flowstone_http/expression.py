"""JMESPath expressions, with errors that quote no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

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
            raise ValueError(f"invalid JMESPath: {' '.join(str(error).split())}") from None
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
        except (JMESPathError, ArithmeticError, TypeError, ValueError) as error:
            kind = type(error).__name__
        raise ContentError(
            f"{self._text!r:.200} cannot be applied to the response: {kind}",
            hint="compare the expression with the JSON of the response",
        )


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
