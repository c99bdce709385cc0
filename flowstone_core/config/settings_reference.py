"""Settings reference: the settings of a model, and the values in use, as text without secrets."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from flowstone_core.config.model_fields import LISTS
from flowstone_core.model.duration import format_duration
from flowstone_core.model.redaction import MASK, looks_secret
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.scheduling.settings import ScheduleSettings

_WORDS: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    date: "date",
    datetime: "datetime",
    timedelta: "duration",
    Path: "path",
    pydantic.SecretStr: "secret",
    pydantic.SecretBytes: "secret",
    type(None): "nothing",
}
_SECRETS = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def describe_settings(model: type[pydantic.BaseModel]) -> list[dict[str, object]]:
    """Return a description of each setting of a model.

    Returns:
        For each setting its name, its type in words, its ``required`` flag, its default as
        configuration would write it (None without one), and its description.
    """
    return [
        {
            "name": name,
            "type": _type(field.annotation, field.metadata),
            "required": field.is_required(),
            "default": _default(name, field),
            "description": field.description or "",
        }
        for name, field in model.model_fields.items()
    ]


def settings_table(model: type[pydantic.BaseModel]) -> str:
    """Return the settings of a model as a Markdown table for a README.

    ``flowstone plugins show TYPE --markdown`` prints the same table. Compare the README with it in
    a test, and the README stays true.

    Args:
        model: A sensor's ``Config``.

    Returns:
        The lines of the table, the last one without a line break.

    Example:
        >>> from flowstone_core import SensorConfig
        >>> class Config(SensorConfig):
        ...     folder: str = pydantic.Field(description="the folder that is watched")
        >>> print(settings_table(Config))
        | setting | takes | default | meaning |
        | --- | --- | --- | --- |
        | `folder` | text | required | the folder that is watched |
    """
    lines = ["| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for row in describe_settings(model):
        default = "required" if row["required"] else f"`{row['default']}`" if row["default"] else ""
        cells = (f"`{row['name']}`", row["type"], default, row["description"])
        lines.append(f"| {' | '.join(_cell(str(cell)) for cell in cells)} |")
    return "\n".join(lines)


def given_settings(
    declaration: SensorDeclaration, redact: Callable[[str], str], *, defaults: bool = False
) -> dict[str, str]:
    """Return the settings of a sensor as texts, without secrets.

    Args:
        declaration: The sensor.
        redact: Hides secrets.
        defaults: True to include settings that have their default.
    """
    found = {}
    for model in (declaration.config, declaration.settings):
        for key in type(model).model_fields:
            value: object = getattr(model, key)
            if (value is not None and key in model.model_fields_set) or defaults:
                found[key] = redact(_value(key, value))
    return found


def schedule_settings(
    spec: Mapping[str, object], redact: Callable[[str], str], *, defaults: bool = False
) -> dict[str, str]:
    """Return the settings of a schedule as texts, without secrets.

    Args:
        spec: The settings by their names in the configuration.
        redact: Hides secrets.
        defaults: True to include settings that have their default.
    """
    found = dict(spec)
    if defaults:
        for name, field in ScheduleSettings.model_fields.items():
            found.setdefault(name, field.default)
    return {key: redact(_value(key, value)) for key, value in found.items()}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(name: str, field: FieldInfo) -> str | None:
    if field.default_factory is not None:
        return "(computed)"
    if field.is_required() or field.default is None:
        return None
    return _value(name, field.default)


def _value(name: str, value: object) -> str:
    """Return a value, which may be of a foreign type, as configuration would write it."""
    if value is None:
        return ""
    if looks_secret(name) or isinstance(value, _SECRETS):
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_value(str(key), item)}" for key, item in value.items())
    if isinstance(value, LISTS) and not isinstance(value, str | bytes):
        texts = [_value(name, item) for item in value]
        return ", ".join(sorted(texts) if isinstance(value, set | frozenset) else texts)
    if callable(value):
        return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', '?')}"
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything
        return f"<cannot be shown: {describe(error)}>"


def _type(annotation: object, metadata: Iterable[object] = ()) -> str:
    """Return the type of a setting in words."""
    metadata = list(metadata)
    if any(_is_import(each) for each in (annotation, *metadata)):
        return "module:name"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [*arguments[1:], *metadata])
    if origin in {Union, types.UnionType}:
        kinds = [_type(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if (origin or annotation) in LISTS:
        items = [each for each in arguments if each is not Ellipsis]
        return f"list of {_type(items[0])}, one a line" if items else "list, one a line"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(str(each.value) for each in annotation)
    name = getattr(annotation, "__name__", None) or str(annotation)
    return " ".join([_WORDS.get(annotation, name), *_bounds(metadata)])


def _is_import(annotation: object) -> bool:
    return pydantic.ImportString in {annotation, type(annotation)}


def _bounds(metadata: Iterable[object]) -> Iterator[str]:
    for each in metadata:
        constraints = getattr(each, "metadata", None) if isinstance(each, FieldInfo) else None
        if constraints:
            yield from _bounds(constraints)
            continue
        for attribute, sign in _BOUNDS.items():
            bound: object = getattr(each, attribute, None)
            if bound is not None:
                yield f"{sign} {format_duration(bound) if isinstance(bound, timedelta) else bound}"
