"""Entries of a fixed size, joined and written as one text."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime


def digest(text: str, size: int) -> bytes:
    """Return the first bytes of the text's SHA-256."""
    return hashlib.sha256(text.encode()).digest()[:size]


def stamp(at: datetime, size: int) -> bytes:
    """Return the last bytes of the time in milliseconds."""
    return round(at.timestamp() * 1000).to_bytes(8, "big", signed=True)[-size:]


def read_entries(text: str, size: int) -> Iterator[bytes]:
    """Read entries of so many bytes.

    Raises:
        ValueError: If the text is not what `write_entries` makes.
    """
    raw = base64.b64decode(text, validate=True)
    if len(raw) % size:
        raise binascii.Error("an entry is cut off")
    return (raw[start : start + size] for start in range(0, len(raw), size))


def write_entries(entries: Iterable[bytes]) -> str:
    """Write entries in a text that is the same for whatever order they come in."""
    return base64.b64encode(b"".join(sorted(entries))).decode("ascii")
