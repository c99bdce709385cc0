"""Redaction of secrets in every text that leaves the process.

A `Redactor` knows the secret values of the running configuration and of the environment, and
replaces every occurrence: in error texts and metadata before they are stored, in log lines before
they are written. Passwords in URLs are hidden even if they are unknown.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from urllib.parse import unquote, unquote_plus

MASK = "***"
_SHORTEST = 4
_SHORTEST_PART = 8
_SHORTEST_VARIABLE = 6
# 8 bytes or more in base64, which a URL or JSON may have quoted.
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]|%2[BbFf]|\\/){11,}")
# What stands before the "://" does not matter, and looking for it would make a long text slow.
_URL_PASSWORD = re.compile(r"(?P<head>://[^\s:/@]*:)[^\s/]+(?=@)")
_URL_LOGIN = re.compile(r"://([^\s:/@]*):([^\s/@]+)@")
_HEADER = re.compile(r"([A-Za-z][\w-]*):\s+(.+)")
_RANDOM = re.compile(r"(?=.*[A-Za-z])(?=.*\d)\S{16,}")
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|api_?key|private_?key|access_?key$"
    r"|^auth(?!ors?(_|$))|cookie$|signature$",
    re.IGNORECASE,
)

# Often a secret, and as often a name: only a value with a digit counts, as secrets have.
_KEY_VARIABLE = re.compile(r"(?:_(?:key|pat|pwd|pw|dsn)|(?:_|^)jwt)$", re.IGNORECASE)


@lru_cache(maxsize=1_000)
def looks_secret(name: str) -> bool:
    """Return True if a setting of this name is a secret, whatever its type."""
    return _SECRET_NAME.search(name) is not None


def secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the secret values of an environment.

    A value of 6 characters or more is a secret if the name of its variable looks secret; the path
    of a file and a number of less than 8 digits are not. So is one of 8 characters or more with a
    digit of a variable such as ``STRIPE_KEY`` or ``GITHUB_PAT``, and a password of 8 characters or
    more in a URL.
    """
    for name, value in environ.items():
        path = name.upper().endswith(("_FILE", "_PATH", "_DIR"))
        number = value.isdecimal() and len(value) < _SHORTEST_PART
        named = looks_secret(name) and len(value) >= _SHORTEST_VARIABLE and not path and not number
        if named or (_KEY_VARIABLE.search(name) and _is_key(value)):
            yield value
        for user, password in _URL_LOGIN.findall(value):
            if len(password) >= _SHORTEST_PART and password != user:
                yield from {password, unquote(password)}


def _is_key(value: str) -> bool:
    path = value.startswith(("/", "~", "."))
    return len(value) >= _SHORTEST_PART and not path and re.search(r"\d", value) is not None


class Redactor:
    """Redactor: replaces known secret values, and passwords in URLs, with ``***``.

    Values shorter than 4 characters are not replaced: hiding every ``a`` would hide the text.

    Args:
        secrets: The values to hide, with their secret parts: in a URL, a header, a form or a JSON
            document, the values with secret names, and those that look random.
            Each is hidden as it is and with any of its characters quoted for a URL, or escaped
            as Python, JSON or HTML would write them; and so is base64 of 8 bytes or more that it
            is in, as in the header of basic authentication. White space around it, such as the
            newline at the end of a file, is not part of it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._compiled: tuple[int, re.Pattern[str] | None] = (0, None)
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Hide one more secret from now on; any thread."""
        for text in (secret, *parts_of(secret)):
            if len(text.strip()) >= _SHORTEST:
                self._secrets.add(text.strip())

    def _known(self) -> re.Pattern[str] | None:
        # When it is first needed: of ten thousand secrets it takes more than a second.
        count, pattern = self._compiled
        if count != len(self._secrets):
            # The longest first: a secret may contain another.
            secrets = sorted(self._secrets, key=len, reverse=True)
            pattern = re.compile("|".join(map(_any_form, secrets)))
            self._compiled = (len(secrets), pattern)
        return pattern

    def __call__(self, text: str) -> str:
        """Return the text with every secret in it replaced."""
        known = self._known()
        if known is not None:
            text = _BASE64.sub(partial(_mask_encoded, known), known.sub(MASK, text))
        return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)


def parts_of(secret: str) -> Iterator[str]:
    """Yield the secret parts of a URL, a header, a form or a JSON document.

    A value counts if its name looks secret, or if it looks random: 16 characters or more, letters
    and digits, and no blank. So neither ``Accept: application/json`` nor a host hides anything.

    Args:
        secret: A value that is a secret as a whole; most have no parts.
    """
    for name, value in _named_values(secret):
        for text in {value, unquote_plus(value), unquote(value)}:
            named = len(text) >= _SHORTEST_PART and looks_secret(name.replace("-", "_"))
            if named or _looks_random(text):
                yield text


def _named_values(secret: str) -> Iterator[tuple[str, str]]:
    address, _, query = secret.partition("?")
    if "://" in address:
        yield from (("", segment) for segment in address.split("/")[3:])
        yield from _pairs(query, "&")
    elif header := _HEADER.fullmatch(secret):
        name, value = header.groups()
        yield name, value
        yield name, value.rpartition(" ")[2]  # what follows Bearer, or another scheme
        yield from _pairs(value, ";")
    elif secret.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            yield from _leaves("", json.loads(secret))
    else:
        yield from _pairs(secret, "&")


def _pairs(text: str, separator: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(separator):
        name, equals, value = pair.strip().partition("=")
        if equals:
            yield name, value


def _leaves(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(str(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(name, item)
    elif isinstance(value, str):
        yield name, value


def _looks_random(text: str) -> bool:
    return _RANDOM.fullmatch(text) is not None


def _mask_encoded(known: re.Pattern[str], match: re.Match[str]) -> str:
    return MASK if any(map(known.search, _decoded(match[0]))) else match[0]


def _any_form(secret: str) -> str:
    return "".join(map(_any_form_of_character, secret))


def _decoded(run: str) -> Iterator[str]:
    """Yield the decoded texts of a base64 run, for each possible start."""
    plain = unquote(run).replace("\\", "").replace("-", "+").replace("_", "/")
    for start in range(4):
        piece = plain[start:]
        raw = base64.b64decode(piece + "A" * (-len(piece) % 4))
        yield raw.decode(errors="replace")


@lru_cache(maxsize=1_000)
def _any_form_of_character(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    raw = character.encode(errors="surrogatepass")
    forms = {
        character,
        ascii(character)[1:-1],
        repr(character)[1:-1],
        json.dumps(character)[1:-1],
        html.escape(character),
        f"\\{character}",
        "".join(f"\\x{byte:02x}" for byte in raw),
    }
    percent = "".join(f"%{byte:02x}" for byte in raw)
    patterns = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
    patterns.append(f"(?i:{percent})")
    if character == " ":
        patterns.append(r"\+")
    return f"(?:{'|'.join(patterns)})"
