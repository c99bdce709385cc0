"""Payload value: the value of an expression, if it can be stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

VALUE_LIMIT = 32 * 1024
"""Most bytes of JSON of a value in a payload; FlowStone stores payloads of eight times this."""


LEFT_OUT = "the value of the response does not fit into the payload"
"""The reason of a value that is left out; the payload has the cause under ``left_out``."""


def payload_value(value: JsonValue) -> dict[str, JsonValue]:
    """Return a value for a payload; a value that cannot be stored is left out, with the reason."""
    try:
        size = len(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return {"value": None, "left_out": "it holds a lone surrogate"}
    if size > VALUE_LIMIT:
        return {"value": None, "left_out": f"it has {size:,} bytes; {VALUE_LIMIT:,} are kept"}
    if _has_large_integer(value):
        return {"value": None, "left_out": "it holds an integer past 64 bits"}
    return {"value": value}


def _has_large_integer(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return any(map(_has_large_integer, value.values()))
    if isinstance(value, list):
        return any(map(_has_large_integer, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63
