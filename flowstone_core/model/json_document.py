"""JSON documents, strict and canonical: states, payloads and metadata.

A document must come back from the store exactly as it was given, so values that JSON would change
silently (tuples, integer keys, NaN, sets, integers past 64 bits) are refused, with their path.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TypeAlias, cast

from flowstone_core.errors import ValidationError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

STATE_LIMIT = 8 * 1024 * 1024
"""Maximum bytes of JSON of a sensor's state."""

PAYLOAD_LIMIT = 256 * 1024
"""Maximum bytes of JSON of an event's payload or a materialization's metadata."""

_MAX_INT = 2**63 - 1


def dump_document(value: object, *, what: str, limit: int) -> str:
    """Write a value as canonical JSON text: sorted keys, no spaces, UTF-8.

    The same value gives the same text, so texts can be compared and digested.

    Args:
        value: None, bool, int, float, str, and lists and dicts of them.
        what: What the value is, for the error message, such as ``the state``.
        limit: Maximum bytes of the text.

    Raises:
        ValidationError: If the value would not come back as it was, or is too large; the message
            names the path inside the value.
    """
    found = _deviation(value, ())
    if found is not None:
        path, reason = found
        where = what + "".join(f"[{step!r}]" for step in path)
        raise ValidationError(f"{where[:200]} is not JSON: {reason}")
    text = _dump(value)
    size = len(text.encode())
    if size > limit:
        raise ValidationError(f"{what} has {size:,} bytes of JSON; at most {limit:,} are allowed")
    return text


def load_document(text: str) -> Json:
    """Parse text of `dump_document`. Each call returns a new value."""
    value: Json = json.loads(text)
    return value


def map_texts(value: Json, change: Callable[[str], str]) -> Json:
    """Return a value with each of its texts changed, names included."""
    if isinstance(value, dict):
        return {change(key): map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def load_object(text: str) -> JsonObject:
    """Parse text of `dump_document` that is a JSON object.

    Raises:
        ValueError: If it is not.
    """
    value = load_document(text)
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def same_document(value: object, text: str) -> bool:
    """Return True if `value` would be written as exactly ``text``; cheap, never raises."""
    try:
        return _dump(value) == text
    except Exception:  # noqa: BLE001 - a foreign subclass of dict may raise anything
        return False


# Made once: `json.dumps` with options makes an encoder for each call.
_dump = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
).encode


def _deviation(value: object, path: tuple[object, ...]) -> tuple[tuple[object, ...], str] | None:
    """Return path and reason of the first part that is not a JSON value, or None."""
    if len(path) > 100:
        return path[:5], "it refers to itself or is nested more than 100 deep"
    kind = type(value)
    children: list[tuple[object, object]] | list[tuple[int, object]]
    if value is None or kind is bool:
        return None
    if kind is str or kind is int or kind is float:
        reason = _scalar_deviation(value)
        return None if reason is None else (path, reason)
    if kind is list:
        children = list(enumerate(cast("list[object]", value)))
    elif kind is dict:
        items = cast("dict[object, object]", value)
        for key in items:
            if type(key) is not str or _scalar_deviation(key) is not None:
                return path, f"its key {ascii(key)[:60]} is not a plain string"
        children = list(items.items())
    else:
        return path, f"it is a {kind.__qualname__}"
    for step, item in children:
        found = _deviation(item, (*path, step))
        if found is not None:
            return found
    return None


def _scalar_deviation(value: object) -> str | None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "it holds a lone surrogate, which UTF-8 cannot write"
    elif isinstance(value, int):
        if not -_MAX_INT - 1 <= value <= _MAX_INT:
            return "it is an integer past 64 bits"
    elif isinstance(value, float) and not math.isfinite(value):
        return "it is NaN or infinite"
    return None
