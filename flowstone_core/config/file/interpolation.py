"""Interpolation: ``%``, ``$`` and ``${NAME}`` in a value of the configuration.

``%%`` is ``%``, and a lone ``%`` is itself. ``$$`` is ``$``. ``${NAME}`` and ``${NAME:-default}``
in capitals are the environment; ``${name}`` in small letters is left for the templates of
partitions and prefixes. A value is expanded once; the inserted text is never expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowstone_core.model.redaction import MASK

MALFORMED = (
    "invalid variable reference: '${' without a name or '}'",
    "write ${NAME} or ${NAME:-default}, or '$$' for a '$' as it is",
)
"""Message and hint for a malformed reference."""

_DOLLAR = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Z_][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<odd>\{[A-Z_]))"
)


@dataclass(frozen=True)
class Interpolation:
    """Result of expanding one value.

    Attributes:
        value: The expanded text; references that cannot be expanded stay as written.
        shown: The same with ``***`` for values of the environment, safe to show.
        taken: The values taken from the environment, by variable.
        unset: The variables that are not set and have no default, in their order.
        malformed: True if a ``${`` in capitals is not closed or not followed by a name.
        lone_percent: True if there is a ``%`` that is not doubled.
    """

    value: str = field(repr=False)
    shown: str
    taken: Mapping[str, str] = field(repr=False)
    unset: tuple[str, ...]
    malformed: bool
    lone_percent: bool


def expand(text: str, environ: Mapping[str, str]) -> Interpolation:
    """Expand a value; nothing is evaluated.

    Args:
        text: The value as written in the file.
        environ: The environment. A variable that is set but empty counts as unset where a
            default is given, as in a shell.

    Example:
        >>> expand("s3://${BUCKET:-shop}/${year}/100%%", {}).value
        's3://shop/${year}/100%'
    """
    lone_percent = "%" in text.replace("%%", "")
    taken: dict[str, str] = {}
    unset: list[str] = []
    malformed = False

    def replace(match: re.Match[str], *, show: bool) -> str:
        nonlocal malformed
        if match["dollar"]:
            return "$"
        if match["odd"]:
            malformed = True
            return match[0]
        name, default = match["name"], match["default"]
        found = environ.get(name)
        if default is not None and not found:
            return default
        if found is None:
            unset.append(name)
            return match[0]
        taken[name] = found
        return MASK if show and found else found

    text = text.replace("%%", "%")
    shown = _DOLLAR.sub(lambda match: replace(match, show=True), text)
    unset.clear()
    value = _DOLLAR.sub(lambda match: replace(match, show=False), text)
    return Interpolation(value, shown, taken, tuple(dict.fromkeys(unset)), malformed, lone_percent)
