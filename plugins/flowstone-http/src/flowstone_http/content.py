"""Strict JSON parser for bodies: refuses JSON that parsers read differently."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import TYPE_CHECKING

from flowstone_http.errors import ContentError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Response

DEPTH_LIMIT = 64
"""Most levels of nested lists and objects."""

_MARKUP = "HTML or XML"
_SHOWN = 24
_DIGITS = 400
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)


# UTF-32 before UTF-16, whose mark is its beginning.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_json(response: Response) -> JsonValue:
    """Parse the body of a response.

    Raises:
        ContentError: If the body is not JSON in UTF-8, or in the encoding of its byte order mark,
            is nested too deep, or holds a duplicate key, NaN or an infinite number.
    """
    if not response.body.strip():
        raise _no_content(response)
    try:
        return _read(response)
    except (ValueError, RecursionError) as error:
        # The texts of json and of codecs quote their input.
        reason = str(error) if type(error) is ValueError else "syntax error"
        if isinstance(error, UnicodeDecodeError):
            reason = f"not in {error.encoding.upper()}"
    markup = "; a proxy or a sign-in page may be responding" if reason == _MARKUP else ""
    raise ContentError(
        f"invalid JSON in the response: {reason}; {describe_response(response)}",
        hint=f"check url and headers{markup}",
    )


def _no_content(response: Response) -> ContentError:
    status = response.status
    hint = "check url, method and headers"
    if status != 200:
        hint = f"if the status means not ready yet, set not_ready_status = {status}; {hint}"
    return ContentError(
        f"no JSON in the response: empty body; {describe_response(response)}", hint=hint
    )


def describe_response(response: Response) -> str:
    """Describe a response and its beginning, with every letter and digit masked."""
    start = response.body[:_SHOWN]
    masked = "".join(_masked(character) for character in start.decode("latin-1"))
    more = "..." if len(response.body) > _SHOWN else ""
    return (
        f"status {response.status}, content type {media_type(response) or 'missing'}, "
        f"{len(response.body):,} bytes" + (f" that begin {masked!r}{more}" if masked else "")
    )


def media_type(response: Response) -> str:
    """Return the content type of a response, such as ``text/html``; empty if missing."""
    text = response.header("content-type").partition(";")[0].strip().lower()
    return text if _MEDIA_TYPE.fullmatch(text) else ""


def _masked(character: str) -> str:
    if character.isdigit():
        return "0"
    return character if character.isascii() and not character.isalpha() else "x"


def _read(response: Response) -> JsonValue:
    body = response.body
    mark = next((mark for mark in _MARKS if body.startswith(mark)), b"")
    if mark:
        # The mark is certain; the declared charset may be a default of the server.
        text = body.removeprefix(mark).decode(_MARKS[mark])
        body = text.encode()
    if body.lstrip()[:1] == b"<":
        raise ValueError(_MARKUP)
    if not mark:
        claimed = _CHARSET.search(response.header("content-type"))
        charset = claimed[1].lower() if claimed else "utf-8"
        if charset not in {"utf-8", "utf8", "us-ascii"} and not body.isascii():
            raise ValueError("declared charset is not UTF-8")
        text = body.decode()
    _check_depth(body)
    value: JsonValue = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_float=_number,
        parse_int=_integer,
    )
    return value


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _TOKEN.finditer(body):
        if match[0] in b"[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise ValueError(f"nested more than {DEPTH_LIMIT} deep")
        elif match[0] in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key in an object")
    return found


def _constant(name: str) -> float:
    raise ValueError(f"unsupported number {name}")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number too large")
    return number


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError("number too large")
    return int(text)
