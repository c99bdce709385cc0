"""What ``%``, ``$`` and ``${NAME}`` mean in a value of the configuration.

``%%`` is ``%``, and a lone ``%`` is itself. ``$$`` is ``$``. ``${NAME}`` and ``${NAME:-default}``
in capitals are the environment; ``${name}`` in small letters is left for the templates of
partitions and prefixes. It is done once: what was put in is never expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowstone_core.model.redaction import MASK

_DOLLAR = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Z_][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<odd>\{[A-Z_]))"
)


@dataclass(frozen=True)
class Interpolation:
    """A value as it is meant.

    Attributes:
        value: The expanded text; what could not be expanded stands in it as it was written.
        shown: The same with ``***`` for whatever the environment gave, safe to be shown.
        taken: What was taken from the environment, by the variable's name.
        unset: The variables that are not set and have no default, in their order.
        malformed: Whether a ``${`` in capitals is not closed or not followed by a name.
        lone_percent: Whether there is a ``%`` that is not doubled.
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
        text: As it stands in the file.
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
