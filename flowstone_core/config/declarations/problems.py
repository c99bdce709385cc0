"""..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import pydantic

from flowstone_core.errors import Problem, did_you_mean
from flowstone_core.model.asset import NAME
from flowstone_core.model.redaction import Redactor, looks_secret
from flowstone_core.model.safe_text import describe, printable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=pydantic.BaseModel)


# Errors of fields that hold others: a text in their place may hold a secret among other things.
_STRUCTURED = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})


def name_problem(name: object, what: str, where: str) -> Problem | None:
    """Say what is wrong with a name, or None if it is one."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    allowed = "use letters, digits, '_', '.' and '-', at most 200, not beginning with '.' or '-'"
    return Problem(f"{name!r:.80} is no name for {what}", where, hint=allowed)


def missing_asset(what: str, asset: object, known: Iterable[str], where: str) -> Problem:
    """Say that something refers to an asset that is not there (yet)."""
    known = list(known)
    if not isinstance(asset, str):
        hint = f"give its name, {own_name(asset)!r}" if own_name(asset) in known else ""
        return Problem(f"{what} {asset!r:.80}; an asset is named by a text", where, hint=hint)
    listed = ", ".join(sorted(known)[:10]) or "none"
    hint = did_you_mean(asset, known) or f"declared so far: {listed}"
    return Problem(f"{what} asset {asset!r:.80}, which is not declared", where, hint=hint)


def own_name(function: object) -> str:
    """Return the name that a function has of itself; empty for what has none."""
    name: object = getattr(function, "__name__", "")
    return name if isinstance(name, str) else ""


def pydantic_problems(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    where: str,
    subject: str,
    places: Mapping[str, str] | None = None,
    also_known: Iterable[str] = (),
    redact: Callable[[str], str] = Redactor(),  # noqa: B008 - it holds nothing that changes
) -> list[Problem]:
    """Say a pydantic error in FlowStone's words, one problem for each wrong field.

    The value itself is never shown of a field that is, or by its name looks, secret, nor of one
    that should hold others.

    Args:
        also_known: Names of settings that are read elsewhere, for "did you mean".
        redact: Hides secrets in the messages of validators.
    """
    known = [*model.model_fields, *also_known]
    problems = []
    for item in error.errors(include_url=False):
        path = [str(step) for step in item["loc"]]
        key = path[0] if path else ""
        hint = ""
        if item["type"] == "extra_forbidden":
            message = "unknown setting"
            if len(path) == 1:
                hint = did_you_mean(key, known) or f"known: {', '.join(sorted(known))}"
        elif item["type"] == "missing":
            message = "this setting is required"
            field_info = _field(model, key)
            hint = (field_info.description or "") if field_info is not None else ""
        elif _is_secret(model, key) or any(map(looks_secret, path)):
            message = "the value is not valid (hidden: it is a secret)"
        else:
            message = _message(item, redact)
        place = (places or {}).get(key, where)
        problems.append(Problem(message, place, f"{subject} {'.'.join(path)}".strip(), hint))
    return problems


def _message(item: ErrorDetails, redact: Callable[[str], str]) -> str:
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, BaseException):
        text = describe(cause, redact)
        return text.removeprefix("ValueError: ").removeprefix("AssertionError: ")
    value = item["input"]
    if isinstance(value, str | int | float | None) and item["type"] not in _STRUCTURED:
        # Redacted before it is cut: half a secret would not be known as one.
        return f"{redact(item['msg'])}, got {printable(redact(repr(value)), 80)}"
    return f"{redact(item['msg'])}, got a value of type {type(value).__qualname__}"


def _field(model: type[pydantic.BaseModel], key: str) -> FieldInfo | None:
    for name, field_info in model.model_fields.items():
        if key in (name, field_info.alias, field_info.validation_alias):
            return field_info
    return None


def _is_secret(model: type[pydantic.BaseModel], key: str) -> bool:
    field_info = _field(model, key)
    return looks_secret(key) or (field_info is not None and "Secret" in str(field_info.annotation))
