"""Keeping secrets out of every text that leaves the process.

A `Redactor` knows the secret values of the running configuration and replaces them wherever they
turn up: in error texts before they are stored, in log lines before they are written. Passwords
in URLs are hidden whether they are known or not.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

MASK = "***"
_SHORTEST = 4
# What is shorter would be found by chance in the base64 of anything.
_SHORTEST_ENCODED = 8
# What stands before the "://" does not matter, and looking for it would make a long text slow.
_URL_PASSWORD = re.compile(r"(?P<head>://[^\s:/@]*:)[^\s/]+(?=@)")
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|api_?key|private_?key|access_?key$|^auth",
    re.IGNORECASE,
)


def looks_secret(name: str) -> bool:
    """Say whether a setting of this name should be treated as a secret whatever its type."""
    return _SECRET_NAME.search(name) is not None


class Redactor:
    """Replaces known secret values, and passwords in URLs, by ``***``.

    Values shorter than 4 characters are not looked for: hiding every ``a`` would hide the text.

    Args:
        secrets: The values to hide. Each is hidden as it is and with any of its characters quoted
            for a URL, or escaped as Python, JSON or HTML would write them; one of 8 bytes or more
            also in base64, of itself or of a text that it is a part of, as in the header of basic
            authentication. White space around it, such as the newline at the end of a file, is
            not part of it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        stripped = {secret.strip() for secret in secrets}
        known = [secret for secret in stripped if len(secret) >= _SHORTEST]
        # The longest first: a secret may contain another.
        ordered = sorted(known, key=len, reverse=True)
        patterns = [_any_form(secret) for secret in ordered]
        patterns += [pattern for secret in ordered for pattern in _encoded(secret)]
        self._known = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """Return the text with every secret in it replaced."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)


def _any_form(secret: str) -> str:
    return "".join(map(_any_form_of_character, secret))


def _encoded(secret: str) -> Iterator[str]:
    """Yield what base64 has of a secret, wherever it begins in what is encoded.

    Three bytes become four characters, so there are three ways. The characters at the ends that
    what stands around it has a part in are left out.
    """
    raw = secret.encode(errors="surrogatepass")
    if len(raw) < _SHORTEST_ENCODED:
        return
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode()
        own = text[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield "".join(map(_any_form_of_encoded, own))


def _any_form_of_encoded(character: str) -> str:
    url_safe = {"+": "-", "/": "_"}.get(character)
    form = _any_form_of_character(character)
    return form if url_safe is None else f"(?:{url_safe}|{form})"


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
