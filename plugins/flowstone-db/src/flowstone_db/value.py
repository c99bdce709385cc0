"""JSON encoding of database values: typed, and canonical."""

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
    """Encode a value as JSON.

    None, booleans, integers of 64 bits, finite floats and strings are encoded as they are, an
    array as a list. Any other value is an object with one key, which names its type, such as
    ``{"date": "2025-01-15"}``. Equal values of a type are encoded alike: 1.50 as 1.5, and an
    instant in UTC.

    Raises:
        ValueError: If the type is not supported.

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
        f"unsupported type {type(value).__qualname__}: cast it in the query, for example to text"
    )


def decode_value(form: JsonValue) -> object:
    """Decode a single value, not a list or JSON, from the form of `encode_value`.

    Raises:
        ValueError: If the form is invalid.
    """
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if isinstance(form, dict) and len(form) == 1:
        ((tag, text),) = form.items()
        if tag in _READERS and isinstance(text, str):
            return _READERS[tag](text)
    raise ValueError(f"invalid stored value {json.dumps(form)!r:.80}")


def canonical(form: JsonValue) -> str:
    """Return the canonical text of a form; it differs for 1, 1.0 and true."""
    return json.dumps(form, sort_keys=True, ensure_ascii=False)


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        return "NaN"
    if not value:
        return "0"
    # The default context rounds to 28 digits.
    digits = len(value.as_tuple().digits)
    context = decimal.Context(prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    return str(value.normalize(context))


def _datetime(value: datetime) -> str:
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


# A datetime is a date as well, so it comes first.
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


def show_value(value: object) -> str:
    """Return a value as a message names it: a time as it is written, not as Python's ``repr``."""
    shown = str(value) if isinstance(value, date | Decimal | UUID) else repr(value)
    return shown[:80]


def encode_row(row: Mapping[str, object]) -> JsonValue:
    """Encode a row: a single column as its value, several as an object by their names.

    Raises:
        ValueError: If a column has an unsupported type; the message names it.
    """
    columns = {}
    for name, value in row.items():
        try:
            columns[name] = encode_value(value)
        except ValueError as error:
            raise ValueError(f"column {name!r:.80}: {error}") from None
    return next(iter(columns.values())) if len(columns) == 1 else cast("JsonValue", columns)
