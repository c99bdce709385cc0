"""Objects remembered by version 1 of the stored state.

Version 1 stored one digest of key and ETag together, from which the key cannot be recovered. So
its entries are compared as they are; each object that is listed moves to the present version, and
the rest is kept for a day, because an object that a listing left out may come back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from flowstone_s3.digests import read_entries, stamp, write_entries
from flowstone_s3.listing import S3Object

_IDENTITY = 8
_STAMP = 4
_SIZE = _IDENTITY + _STAMP


class LegacySeenObjects:
    """Objects known by one digest of key and ETag.

    Args:
        seen: The entries of the last listing.
        gone: The entries that went missing, by the hour.

    Raises:
        ValueError: If a text cannot be decoded.
    """

    def __init__(self, seen: str, gone: Mapping[datetime, str]) -> None:
        self._seen = _pairs(seen)
        self._gone = {hour: _pairs(text) for hour, text in gone.items()}
        self._away = {pair for group in self._gone.values() for pair in group.items()}

    def __len__(self) -> int:
        return len(self._seen) + len(self._away)

    def knows(self, item: S3Object) -> bool:
        """Return True if the object was seen; its entry then moves to the present version."""
        if not self._seen and not self._away:
            return False
        text = f"{item.key}\0{item.etag}".encode()
        identity = hashlib.sha256(text).digest()[:_IDENTITY]
        if self._seen.pop(identity, None) is not None:
            return True
        return (identity, stamp(item.last_modified, _STAMP)) in self._away

    def groups(self, hour: datetime) -> dict[str, str]:
        """Return the missing entries to store, by the hour; the latest under the given hour."""
        groups = dict(self._gone)
        groups[hour] = groups.get(hour, {}) | self._seen
        return {
            at.isoformat(): write_entries(key + last for key, last in group.items())
            for at, group in groups.items()
            if group
        }


def _pairs(text: str) -> dict[bytes, bytes]:
    return {entry[:_IDENTITY]: entry[_IDENTITY:] for entry in read_entries(text, _SIZE)}
