"""Partition: a slice of an asset, as a typed value in code and as tagged text in the store.

One value has one text and one text one value:

====================  ==========================================================
``d:2025-01-15``              a date
``dt:2025-01-15T02:00:00Z``   an aware datetime, in UTC
``ndt:2025-01-15T02:00:00``   a naive datetime
``t:<base64url>``             a tuple: a JSON list of the texts of its parts
``s:<base64url>``             a string that would be mistaken for another form
anything else                 a string, as it is
====================  ==========================================================

base64url is RFC 4648, section 5, without padding.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from datetime import UTC, date, datetime
from typing import TypeAlias

from flowstone_core.errors import ValidationError
from flowstone_core.model.date_text import looks_like_a_date, read_date
from flowstone_core.model.safe_text import one_line, printable

Partition: TypeAlias = "str | date | datetime | tuple[Partition, ...]"
"""Value of a partition; `encode_partition` returns its text."""

TEXT_LIMIT = 2_000
"""Maximum UTF-8 bytes of a partition's text: both databases keep it in an index, PostgreSQL's
B-tree rows end at 2,704 bytes."""

_TAGS = ("d:", "dt:", "ndt:", "t:", "s:")
# Written out, and not left to `str.isprintable`: what that says changes with the Unicode version
# of the Python that runs, and a stored text must stay the text of its value.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
_MAX_DEPTH = 8


def encode_partition(value: Partition) -> str:
    """Return the canonical text of a partition.

    Args:
        value: A date, a datetime, a non-empty string, or a non-empty tuple of these.

    Raises:
        ValidationError: If the value is of another type (an int, a list, None, ...), is empty,
            holds a lone surrogate, or its text would pass `TEXT_LIMIT`.

    Example:
        >>> from datetime import date
        >>> encode_partition(date(2025, 1, 15))
        'd:2025-01-15'
        >>> encode_partition("tenant-7")
        'tenant-7'
    """
    if isinstance(value, str) and not value:
        raise ValidationError("the partition must not be empty")
    return encode_value(value)


def encode_value(value: Partition) -> str:
    """Return the canonical text of a partition or of an event's key.

    Raises:
        ValidationError: See `encode_partition`; but the empty string has a text, ``s:``: it may be
            a key, and older stores hold it as a partition.
    """
    text = _encode(value, 0)
    size = len(text.encode())
    if size > TEXT_LIMIT:
        raise ValidationError(
            f"{text[:40]!r}... has {size:,} bytes as a text; at most {TEXT_LIMIT:,} are allowed"
        )
    return text


def decode_partition(text: str) -> Partition:
    """Return the partition of a canonical text, strictly.

    Raises:
        ValidationError: If the text is not exactly what `encode_partition` writes for some value:
            an unpadded month, a basic-format date, base64 with stray bits, and so on.

    Example:
        >>> decode_partition("d:2025-01-15")
        datetime.date(2025, 1, 15)
    """
    try:
        value = _decode(text)
        canonical = encode_value(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValidationError(
            f"{printable(text, 80)!r} is not the text of a partition: {_reason(error)}"
        ) from None
    if canonical != text:
        raise ValidationError(
            f"{printable(text, 80)!r} is not the text of a partition: "
            f"this value is written {printable(canonical, 80)!r}"
        )
    return value


def parse_partition(text: str) -> Partition:
    """Parse a partition as a person types it on a command line.

    A tagged text is that value; any other text is what `partition_from_text` makes of it. A string
    that looks like a date has a tagged form.

    Raises:
        ValidationError: If a date or a tagged text is invalid.
    """
    if looks_like_a_date(text):
        try:
            return partition_from_text(text)
        except ValidationError as error:
            raise ValidationError(f"{error}; for a plain string use {_tagged(text)!r}") from None
    if text.startswith("s:"):
        # Stored as it is, such a string has no other form that a person could give it in.
        with contextlib.suppress(ValueError):
            plain = _unbase64(text[2:])
            if looks_like_a_date(plain) and text == _tagged(plain):
                return plain
    if text.startswith(_TAGS):
        return decode_partition(text)
    encode_partition(text)
    return text


def partition_from_text(text: str) -> Partition:
    """Return the partition that a text of an external source names.

    A text in the form of a date is a date, one in the form of a date with a time is a datetime,
    and any other text is itself. Each sensor, template and command reads dates here, so that one
    day is one partition for all of them.

    Raises:
        ValidationError: If the text has the form of a date, but is not one.

    Example:
        >>> partition_from_text("2025-01-15")
        datetime.date(2025, 1, 15)
        >>> partition_from_text("d:2025-01-15")
        'd:2025-01-15'
    """
    try:
        found = read_date(text)
        if found is not None:
            encode_partition(found)
    except (ValueError, OverflowError) as error:
        raise ValidationError(f"invalid date {text!r:.80}: {_reason(error)}") from None
    return text if found is None else found


def format_partition(value: Partition) -> str:
    """Format a partition for people: ``2025-01-15 02:00:00Z`` or ``(eu, 2025-01-15)``.

    The text has one line: line breaks and control characters are shown escaped. Two different
    partitions may look alike: this is for tables and logs, never for keys.
    """
    if isinstance(value, tuple):
        return f"({', '.join(format_partition(part) for part in value)})"
    if isinstance(value, datetime):
        return _encode(value, 0).split(":", 1)[1].replace("T", " ")
    return value.isoformat() if isinstance(value, date) else one_line(value) or "''"


def show_partition(text: str) -> str:
    """Format a stored partition for people, or the text itself if it is not one."""
    try:
        return format_partition(decode_partition(text))
    except ValidationError:  # written by an older version, or by something else
        return one_line(text)


def _encode(value: object, depth: int) -> str:
    if isinstance(value, str):
        return _encode_string(value)
    if isinstance(value, datetime):
        return _encode_datetime(value)
    if isinstance(value, date):
        text = date.isoformat(value)
        if date.fromisoformat(text) != value:
            raise ValidationError(f"cannot encode {value!r:.80} as a partition: not a plain date")
        return "d:" + text
    if isinstance(value, tuple):
        if not value:
            raise ValidationError("cannot encode an empty tuple as a partition")
        if depth == _MAX_DEPTH:
            raise ValidationError(f"tuples are nested more than {_MAX_DEPTH} deep")
        return "t:" + _base64(
            json.dumps(
                [_encode(part, depth + 1) for part in value],
                ensure_ascii=False,
                separators=(",", ":"),
            )
        )
    raise ValidationError(
        f"cannot encode a value of type {type(value).__qualname__} as a partition: "
        "use a date, a datetime, a string, or a tuple of these"
    )


def _encode_datetime(value: datetime) -> str:
    aware = value.utcoffset() is not None
    try:
        plain = (value.astimezone(UTC) if aware else value).replace(tzinfo=None)
    except OverflowError:
        raise ValidationError(f"{value} is outside the years 1 to 9999 in UTC") from None
    # The method of datetime itself: a subclass may write another text, and may hold what this
    # text does not say (pandas has nanoseconds, and a NaT that is a datetime).
    text = datetime.isoformat(plain)
    if datetime.fromisoformat(text) != plain:
        raise ValidationError(f"cannot encode {value!r:.80} as a partition: not a plain datetime")
    return f"dt:{text}Z" if aware else f"ndt:{text}"


def _encode_string(value: str) -> str:
    value = str.__str__(value)  # undoes subclasses: what is stored and compared is a plain string
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(
            f"the partition {ascii(value)[:80]} holds a lone surrogate, which UTF-8 cannot write"
        ) from None
    return _tagged(value) if _needs_tag(value) else value


def _needs_tag(value: str) -> bool:
    return (
        not value
        or value.startswith((*_TAGS, " "))
        or value.endswith(" ")
        or bool(_HIDDEN.search(value))
    )


def _tagged(value: str) -> str:
    return "s:" + _base64(value)


def _decode(text: str) -> Partition:
    """Read a text leniently; that it is the one text of its value is for the caller to check."""
    tag, separator, body = text.partition(":")
    match tag + separator:
        case "d:":
            return date.fromisoformat(body)
        case "dt:" | "ndt:":
            return datetime.fromisoformat(body)
        case "s:":
            return _unbase64(body)
        case "t:":
            parts = json.loads(_unbase64(body))
            if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
                raise ValueError("it does not hold a list of texts")
            return tuple(_decode(part) for part in parts)
        case _:
            return text


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unbase64(body: str) -> str:
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64url") from None
    return raw.decode()


def _reason(error: BaseException) -> str:
    return printable(str(error), 200)
