"""Values of a database as JSON: typed, and one text for one value."""

from __future__ import annotations

import base64
import decimal
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

if TYPE_CHECKING:
    from pydantic import JsonValue

_INTEGERS = range(-(2**63), 2**63)


def encode_value(value: object) -> JsonValue:
    """Write a value as JSON.

    None, booleans, integers of 64 bits, finite floats and strings are themselves, an array is a
    list. Anything else is an object with one key, which names its type, such as
    ``{"date": "2025-01-15"}``. Equal values of a type are written alike: 1.50 as 1.5, and an
    instant in UTC.

    Raises:
        ValueError: If there is no such form for its type.

    Example:
        >>> encode_value(Decimal("1.50"))
        {'decimal': '1.5'}
        >>> encode_value(["a", None, 1])
        ['a', None, 1]
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value in _INTEGERS else {"int": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list | tuple):
        return [encode_value(item) for item in value]
    if isinstance(value, Mapping):
        return {"json": {str(key): encode_value(item) for key, item in value.items()}}
    for kind, tag, write in _WRITERS:
        if isinstance(value, kind):
            return {tag: write(value)}
    raise ValueError(
        f"a value of type {type(value).__qualname__} cannot be compared; cast it in the query, "
        "for example to text"
    )


def decode_value(form: JsonValue) -> object:
    """Read a single value, no list and no JSON, from what `encode_value` wrote.

    Raises:
        ValueError: If it did not write that.
    """
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if isinstance(form, dict) and len(form) == 1:
        ((tag, text),) = form.items()
        if tag in _READERS and isinstance(text, str):
            return _READERS[tag](text)
    raise ValueError(f"{json.dumps(form)!r:.80} is no stored value")


def canonical(form: JsonValue) -> str:
    """Return the one text of a form; two that differ in type differ in it: 1, 1.0, true."""
    return json.dumps(form, sort_keys=True, ensure_ascii=False)


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        return "NaN"
    if not value:
        return "0"
    # The default context would round to 28 digits.
    digits = len(value.as_tuple().digits)
    context = decimal.Context(prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    return str(value.normalize(context))


def _datetime(value: datetime) -> str:
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


# A datetime is a date as well, so it stands first.
_WRITERS: tuple[tuple[type | tuple[type, ...], str, Callable[[Any], str]], ...] = (
    (Decimal, "decimal", _decimal),
    (datetime, "datetime", _datetime),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "microseconds", lambda value: str(value // timedelta(microseconds=1))),
    (UUID, "uuid", str),
    ((bytes, bytearray, memoryview), "bytes", _bytes),
)
_READERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "microseconds": lambda text: timedelta(microseconds=int(text)),
    "uuid": UUID,
    "bytes": base64.b64decode,
}


def encode_row(row: Mapping[str, object]) -> JsonValue:
    """Write a row: one column is its value, several are an object by their names.

    Raises:
        ValueError: If a column cannot be written; it is named.
    """
    columns = {}
    for name, value in row.items():
        try:
            columns[name] = encode_value(value)
        except ValueError as error:
            raise ValueError(f"column {name!r:.80}: {error}") from None
    return next(iter(columns.values())) if len(columns) == 1 else cast("JsonValue", columns)
