"""Digests of a fixed size, and their encoding: sorted, joined, in base64."""

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
    """Decode entries of ``size`` bytes.

    Raises:
        ValueError: If the text was not written by `write_entries`.
    """
    raw = base64.b64decode(text, validate=True)
    if len(raw) % size:
        raise binascii.Error("truncated entry")
    return (raw[start : start + size] for start in range(0, len(raw), size))


def write_entries(entries: Iterable[bytes]) -> str:
    """Encode entries; the text does not depend on their order."""
    return base64.b64encode(b"".join(sorted(entries))).decode("ascii")
