"""Texts of database URLs: a mistake that would show a password where a host stands."""

from __future__ import annotations

import re

_QUERY = re.compile(r"\?\w+=")


def has_unescaped_at(url: str) -> bool:
    """Return True if a URL holds an ``@`` that should be written ``%40``.

    Everything after the first ``@`` is taken for the host: the rest of a password that holds an
    ``@`` would be looked up as a name, and shown in errors.

    Example:
        >>> has_unescaped_at("postgresql://user:p@ss@host/shop")
        True
        >>> has_unescaped_at("postgresql://user:p%40ss@host/shop")
        False
    """
    rest = url.partition("://")[2]
    head, _, tail = rest.partition(":")
    before, at, after = tail.partition("@")
    if not at or rest.startswith("/"):
        return False
    return "/" in head or "@" in after or _QUERY.search(before) is not None
