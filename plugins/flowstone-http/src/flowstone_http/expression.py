"""JMESPath, whose errors quote no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flowstone_http.errors import ContentError

if TYPE_CHECKING:
    from pydantic import JsonValue


class Expression:
    """An expression of JMESPath.

    Args:
        text: As https://jmespath.org writes it.

    Raises:
        ValueError: If it is none.
    """

    def __init__(self, text: str) -> None:
        import jmespath
        from jmespath.exceptions import JMESPathError

        try:
            self._compiled = jmespath.compile(text)
        except JMESPathError as error:
            raise ValueError(f"it is no JMESPath: {' '.join(str(error).split())}") from None
        self._text = text

    @property
    def is_fixed(self) -> bool:
        """Whether it is a literal, which needs no body."""
        return bool(self._compiled.parsed["type"] == "literal")

    def search(self, body: JsonValue) -> JsonValue:
        """Return what it finds in a body; None for nothing.

        Raises:
            ContentError: If the body is not such that it can be applied.
        """
        from jmespath.exceptions import JMESPathError

        try:
            return cast("JsonValue", self._compiled.search(body))
        except (JMESPathError, ArithmeticError, TypeError, ValueError) as error:
            kind = type(error).__name__
        raise ContentError(
            f"{self._text!r:.200} cannot be applied to the answer: {kind}",
            hint="the answer is of another form than the expression expects",
        )


def is_true(value: JsonValue) -> bool:
    """Say whether what a ``check`` gave means ready.

    Raises:
        ContentError: If it is a text: ``"false"`` and ``"pending"`` would be true.
    """
    if isinstance(value, str):
        raise ContentError(
            "check gives a text, which is neither true nor false",
            hint="compare it, such as check = status == 'done'",
        )
    return bool(value)
