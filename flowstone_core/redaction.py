"""Keeping secrets out of every text that leaves the process.

A `Redactor` knows the secret values of the running configuration and replaces them wherever they
turn up: in error texts before they are stored, in log lines before they are written. Passwords
in URLs are hidden whether they are known or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4
_URL_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)")
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
        secrets: The values to hide; each is hidden as it is, URL-quoted, and escaped as Python or
            JSON would write it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(secret) >= _SHORTEST}
        # The longest first: a secret may contain another.
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return the text with every secret in it replaced."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)


def _forms(secret: str) -> tuple[str, ...]:
    return (
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    )
