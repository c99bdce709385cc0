"""Settling objects: they fire after polls have shown them unchanged for a duration."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta

from flowstone_s3.digests import digest
from flowstone_s3.listing import S3Object

FINGERPRINT_SIZE = 4
SINCE_SIZE = 4


class SettlingObjects:
    """Objects that have not yet been unchanged for the required duration.

    Args:
        before: The objects that were settling at the previous poll: by the key's digest, a digest
            of ETag, size and time of modification, and the start time in seconds of the epoch.
        now: The time, aware.
        settle: The duration for which an object must be unchanged; zero disables settling.
    """

    def __init__(self, before: dict[bytes, bytes], now: datetime, settle: timedelta) -> None:
        self._before = before
        self._now = int(now.timestamp())
        self._settle = settle
        self._entries: dict[bytes, bytes] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._before

    def __bool__(self) -> bool:
        return bool(self._before)

    @property
    def changed(self) -> bool:
        """Whether other objects are settling than before, or since another time."""
        return self._entries != self._before

    def entries(self) -> dict[bytes, bytes]:
        """Return the settling objects, by the key's digest."""
        return self._entries

    def all_but(self, present: Container[bytes]) -> dict[bytes, bytes]:
        """Return the settling objects, with those of before that are not in ``present``."""
        before = {key: form for key, form in self._before.items() if key not in present}
        return before | self._entries

    def settled(self, key: bytes, item: S3Object) -> bool:
        """Return True if an object has settled; record it if not."""
        if not self._settle:
            return True
        text = f"{item.etag}\0{item.size}\0{item.last_modified.timestamp()}"
        form = digest(text, FINGERPRINT_SIZE)
        since = self._now
        before = self._before.get(key)
        if before is not None and before[:FINGERPRINT_SIZE] == form:
            # After the clock was set back, the duration is unknown: it starts again.
            since = min(since, int.from_bytes(before[FINGERPRINT_SIZE:], "big"))
        if timedelta(seconds=self._now - since) >= self._settle:
            return True
        self._entries[key] = form + since.to_bytes(SINCE_SIZE, "big")
        return False
