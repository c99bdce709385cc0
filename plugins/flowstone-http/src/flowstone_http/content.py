"""A body as JSON, strictly: what two readers would read differently is refused."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from flowstone_http.errors import ContentError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Answer

DEPTH_LIMIT = 64
"""Most levels of lists and objects in each other."""

_SHOWN = 24
_DIGITS = 400
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)


def read_json(answer: Answer) -> JsonValue:
    """Read the body of an answer.

    Raises:
        ContentError: If it is no JSON in UTF-8, is nested too deep, or holds what JSON has no
            value for: a key twice, NaN, an infinite number.
    """
    try:
        return _read(answer)
    except (ValueError, RecursionError) as error:
        # Texts of json and of codecs quote what they read.
        reason = str(error) if type(error) is ValueError else "it breaks the rules of JSON"
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not in UTF-8"
    raise ContentError(
        f"the answer is no JSON that can be used: {reason}; {describe_answer(answer)}",
        hint="check url and headers; a proxy or a page for signing in may be answering",
    )


def describe_answer(answer: Answer) -> str:
    """Say what an answer is, and how it begins, with every letter and digit masked."""
    start = answer.body[:_SHOWN]
    masked = "".join(_masked(character) for character in start.decode("latin-1"))
    more = "..." if len(answer.body) > _SHOWN else ""
    return (
        f"status {answer.status}, content type {media_type(answer) or 'not said'}, "
        f"{len(answer.body):,} bytes that begin {masked!r}{more}"
    )


def media_type(answer: Answer) -> str:
    """Return the content type of an answer, such as ``text/html``; nothing if there is none."""
    text = answer.header("content-type").partition(";")[0].strip().lower()
    return text if _MEDIA_TYPE.fullmatch(text) else ""


def _masked(character: str) -> str:
    if character.isdigit():
        return "0"
    return character if character.isascii() and not character.isalpha() else "x"


def _read(answer: Answer) -> JsonValue:
    body = answer.body
    if not body.strip():
        raise ValueError("it is empty")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it begins with a byte order mark")
    if body.lstrip()[:1] == b"<":
        raise ValueError("it is HTML or XML")
    claimed = _CHARSET.search(answer.header("content-type"))
    charset = claimed[1].lower() if claimed else "utf-8"
    if charset not in {"utf-8", "utf8", "us-ascii"} and not body.isascii():
        raise ValueError("it says that it is not in UTF-8")
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
                raise ValueError(f"it is nested more than {DEPTH_LIMIT} deep")
        elif match[0] in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object in it has a key twice")
    return found


def _constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it holds a number that is too large")
    return number


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError("it holds a number that is too large")
    return int(text)
