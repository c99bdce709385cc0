"""Headers of the settings: lines, pairs or a mapping, read into names and values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from flowstone_core.plugin_api import InvalidSecretError

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED = frozenset(
    {
        "accept-encoding", "connection", "content-length", "expect", "host", "if-modified-since",
        "if-none-match", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def as_lines(given: object) -> object:
    """Return headers as ``Name: value`` lines, if they are a mapping or pairs.

    Raises:
        InvalidSecretError: If a name or a value is not a text, or a name holds a colon.
    """
    if isinstance(given, Mapping):
        given = tuple(given.items())
    if isinstance(given, list | tuple):
        return tuple(
            _line(number, *each) if isinstance(each, list | tuple) and len(each) == 2 else each
            for number, each in enumerate(given, 1)
        )
    return given


def read_headers(lines: Iterable[SecretStr]) -> dict[str, str]:
    """Return the headers, by their names in lower case.

    Raises:
        InvalidSecretError: If a line is not a header, or a header is reserved or there twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, separator, value = line.get_secret_value().partition(":")
        name, value = name.strip().lower(), value.strip()
        printable = value.isprintable() or value.replace("\t", "").isprintable()
        if not separator or not _NAME.fullmatch(name) or not printable:
            raise InvalidSecretError(f"invalid header in line {number}: use 'Name: value'")
        if not _is_latin(value):
            raise InvalidSecretError(f"invalid character in line {number}: use Latin-1")
        if name in _RESERVED:
            raise InvalidSecretError(f"line {number} cannot set {name}")
        if name in found:
            raise InvalidSecretError(f"duplicate header {name} in line {number}")
        found[name] = value
    return found


def _line(number: int, name: object, value: object) -> str:
    texts = [
        each.get_secret_value() if isinstance(each, SecretStr) else each for each in (name, value)
    ]
    if not isinstance(texts[0], str) or not _NAME.fullmatch(texts[0].strip()):
        raise InvalidSecretError(f"invalid header name in item {number}")
    if not isinstance(texts[1], str | int) or isinstance(texts[1], bool):
        raise InvalidSecretError(f"invalid header value in item {number}: it must be a text")
    return f"{texts[0]}: {texts[1]}"


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
