"""Problems shared by the declarations: invalid names, unknown assets, pydantic errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import pydantic

from flowstone_core.config.declarations.pydantic_messages import described
from flowstone_core.config.model_fields import field_by_key, is_union
from flowstone_core.errors import InvalidSecretError, Problem, did_you_mean
from flowstone_core.model.asset import NAME
from flowstone_core.model.redaction import Redactor, looks_secret
from flowstone_core.model.safe_text import describe, printable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=pydantic.BaseModel)

LISTED = 12
"""Most settings that a hint lists where none is like the unknown one."""

_NEAR = 0.7
"""The least similarity of a setting that is meant: ``retry`` is not ``every``."""

MERGED = "no_type_of_a_union"
"""The type of an error that stands for those of each type of a union."""

# Other tools' names of settings, with ours.
_OTHER_NAMES = {
    "interval": ("every",),
    "frequency": ("every",),
    "period": ("every",),
    "schedule": ("cron", "every"),
    "crontab": ("cron",),
    "database": ("store",),
    "tz": ("timezone",),
    "timeout": ("deadline",),
    "retries": ("quarantine_after", "max_attempts"),
    "disabled": ("enabled",),
    "kind": ("type",),
    "target": ("asset",),
    "threads": ("poll_threads",),
}

_TOO_SHORT = frozenset({"string_too_short", "too_short"})

# Errors of fields that hold other fields: a text in their place may contain a secret.
_STRUCTURED = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})


def name_problem(name: object, kind: str, where: str) -> Problem | None:
    """Return the problem with a name, or None if the name is valid.

    Args:
        kind: The kind of thing that has the name, such as ``sensor``.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    allowed = "use letters, digits, '_', '.' and '-', at most 200, not beginning with '.' or '-'"
    return Problem(f"invalid {kind} name {name!r:.80}", where, hint=allowed)


def duplicate(what: str, where: str, first: str, hint: str = "") -> Problem:
    """Return the problem with a name that is declared twice.

    Args:
        what: The kind and the name, such as ``sensor 'feed'``.
        where: ``file:line`` of the second declaration.
        first: ``file:line`` of the first one.
        hint: What else to do; may be empty.
    """
    hints = [f"first declared at {first}", *([hint] if hint else [])]
    return Problem(f"duplicate {what}", where, hint="; ".join(hints))


def missing_asset(subject: str, asset: object, known: Iterable[str], where: str) -> Problem:
    """Return the problem with a reference to an asset that is not declared (yet)."""
    known = list(known)
    if not isinstance(asset, str):
        hint = f"write its name, {own_name(asset)!r}" if own_name(asset) in known else ""
        message = f"an asset must be named by a text, not by {asset!r:.80}"
        return Problem(message, where, subject, hint)
    listed = ", ".join(sorted(known)[:10]) or "none"
    hint = did_you_mean(asset, known) or f"declared so far: {listed}"
    return Problem(f"unknown asset {asset!r:.80}", where, subject, hint)


def own_name(function: object) -> str:
    """Return a function's ``__name__``, or an empty text if it has none."""
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
    """Convert a pydantic error into problems, one for each invalid field.

    The value of a field is not shown if the field is secret, has a name that looks secret, or
    should hold other fields.

    Args:
        where: ``file:line`` of fields without a place.
        subject: The thing that has the fields; each field's path is appended.
        places: ``file:line`` of single fields.
        also_known: Names of settings that are read elsewhere, for "did you mean".
        redact: Hides secrets in the messages of validators.
    """
    known = [*model.model_fields, *also_known]
    problems = []
    for item in _merged(error.errors(include_url=False), model):
        path = [str(step) for step in item["loc"]]
        key = path[0] if path else ""
        safe = False
        if item["type"] == "extra_forbidden":
            message, hint = "unknown setting", ""
            if len(path) == 1:
                hint = suggestion(key, known)
        elif item["type"] == "missing":
            message = "missing setting"
            field_info = field_by_key(model, key)
            hint = (field_info.description or "") if field_info is not None else ""
        elif isinstance(item.get("ctx", {}).get("error"), InvalidSecretError):
            (message, hint), safe = _message(item, redact), True
        elif is_secret(model, key) or any(map(looks_secret, path)):
            # That a value is empty says nothing of it.
            safe = item["type"] in _TOO_SHORT and item.get("ctx", {}).get("min_length") == 1
            message = "must not be empty" if safe else "invalid value (hidden: it is a secret)"
            hint = ""
        else:
            message, hint = _message(item, redact)
        place = (places or {}).get(key, where)
        problems.append(Problem(message, place, f"{subject} {'.'.join(path)}".strip(), hint, safe))
    return problems


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown setting: the one that is meant, or where all are listed."""
    known = sorted(known)
    meant = did_you_mean(key, known, _NEAR)
    if meant:
        return meant
    for name, settings in _OTHER_NAMES.items():
        if did_you_mean(key, [name], _NEAR):
            found = [setting for setting in settings if setting in known]
            if found:
                return f"did you mean {found[0]!r}?"
    if len(known) <= LISTED:
        return f"known: {', '.join(known)}"
    return "flowstone plugins show TYPE lists the settings of a sensor type"


def _merged(
    items: Iterable[ErrorDetails], model: type[pydantic.BaseModel]
) -> Iterator[ErrorDetails]:
    """Yield the errors; one for a value that fits no type of a union.

    pydantic has one for each type there, with the type's Python name in its path.
    """
    unions: dict[str, list[ErrorDetails]] = {}
    for item in items:
        key = str(item["loc"][0]) if item["loc"] else ""
        if len(item["loc"]) > 1 and is_union(model, key):
            unions.setdefault(key, []).append(item)
        else:
            yield item
    for key, members in unions.items():
        texts = [described(item)[0] or item["msg"] for item in members]
        first, *others = dict.fromkeys(texts)
        joined = " or ".join([first, *(text.removeprefix("must be ") for text in others)])
        merged: ErrorDetails = {**members[-1], "loc": (key,), "type": MERGED, "msg": joined}
        yield merged


def _message(item: ErrorDetails, redact: Callable[[str], str]) -> tuple[str, str]:
    """Return message and hint of an invalid value."""
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, BaseException):
        text = describe(cause, redact)
        return text.removeprefix("ValueError: ").removeprefix("AssertionError: "), ""
    text, hint = described(item)
    text = redact(text or item["msg"].removeprefix("Value error, "))
    value = item["input"]
    if isinstance(value, str | int | float | None) and item["type"] not in _STRUCTURED:
        # Redacted before it is cut: half a secret would not be known as one.
        return f"{text}, got {printable(redact(repr(value)), 80)}", redact(hint)
    return f"{text}, got a value of type {type(value).__qualname__}", redact(hint)


def is_secret(model: type[pydantic.BaseModel], key: str) -> bool:
    """Return True if a field is of a secret type or has a name that looks secret."""
    field_info = field_by_key(model, key)
    return looks_secret(key) or (field_info is not None and "Secret" in str(field_info.annotation))
