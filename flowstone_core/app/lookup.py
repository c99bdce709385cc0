"""Lookup errors: an unknown name, with the nearest known one or all of them as hint."""

from __future__ import annotations

from collections.abc import Iterable

from flowstone_core.errors import NotFoundError, did_you_mean


def unknown(what: str, name: str, known: Iterable[str]) -> NotFoundError:
    """Return the error for a name that nothing has.

    Args:
        what: The kind of thing, such as ``sensor``.
        name: The unknown name.
        known: All names of this kind.
    """
    names = sorted(known)
    hint = did_you_mean(name, names) or f"known: {', '.join(names) or 'none'}"
    return NotFoundError(f"unknown {what} {name!r}", hint=hint)
