"""A section's settings as the fields of a pydantic model, and what may not be shown of them."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Annotated, Union, get_args, get_origin

import pydantic

from flowstone_core.config.file.section import Section, Setting
from flowstone_core.errors import Problem
from flowstone_core.model.redaction import Redactor, looks_secret

_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable, AbstractSet)
_EITHER = (Union, types.UnionType, Annotated)


def field_values(
    section: Section, model: type[pydantic.BaseModel], leave: Collection[str] = ()
) -> dict[str, object]:
    """Return the texts of a section as the model takes them: a list has one item a line.

    Args:
        leave: Keys to leave out.
    """
    return {
        key: _lines(setting.value) if _takes_list(model, key) else setting.value
        for key, setting in section.settings.items()
        if key not in leave
    }


def places(section: Section) -> Mapping[str, str]:
    """Return ``file:line`` of each setting."""
    return {key: section.where(key) for key in section.settings}


def swallowed(
    section: Section, model: type[pydantic.BaseModel], known: Collection[str]
) -> Iterator[Problem]:
    """Find settings that are part of the value above them because they are indented.

    Args:
        known: What may stand in this section.
    """
    for key, setting in section.settings.items():
        for inner in setting.swallowed:
            if inner.key in known and (inner.likely or _takes_list(model, key)):
                yield Problem(
                    f"indented, this line is part of {key!r} and sets nothing",
                    f"{section.file}:{inner.line}",
                    f"{section.title} {inner.key}",
                    f"remove the blanks before it; if it does belong to {key!r}, begin that value "
                    "on the line below its key",
                )


def strays(section: Section, known: Collection[str]) -> Iterator[tuple[str, Problem]]:
    """Find unknown keys that are rather the value of an empty secret above: not to be shown."""
    above = ""
    for key, setting in section.settings.items():
        if key not in known and looks_secret(above) and not section.settings[above].value:
            message = f"{above!r} is empty, and this unknown setting may be its value (not shown)"
            hint = "only indented lines continue a value"
            yield key, Problem(message, f"{section.file}:{setting.line}", section.title, hint)
        above = key


def conceal(problem: Problem, section: Section) -> Problem:
    """Take out of a problem whatever the setting it concerns keeps secret."""
    for key, setting in section.settings.items():
        if setting.secret and problem.where == section.where(key):
            return replace(problem, message=_concealed(problem.message, setting))
    return problem


def _concealed(message: str, setting: Setting) -> str:
    message = Redactor(setting.secrets)(message.replace(setting.value, setting.shown))
    # A message may quote a part of the value only, which no redactor knows.
    for secret in setting.secrets:
        if any(secret[start : start + 4] in message for start in range(len(secret) - 3)):
            return "the value is not valid (hidden: it is secret, or comes from the environment)"
    return message


def _takes_list(model: type[pydantic.BaseModel], key: str) -> bool:
    for name, field in model.model_fields.items():
        if key in (name, field.alias, field.validation_alias):
            return _is_list(field.annotation)
    return False


def _is_list(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin in _EITHER:
        return any(map(_is_list, get_args(annotation)))
    return (origin or annotation) in _LISTS


def _lines(value: str) -> list[str]:
    return [stripped for line in value.split("\n") if (stripped := line.strip())]
