"""Objects that wait until they have been unchanged for long enough."""

from __future__ import annotations

from datetime import datetime, timedelta

from flowstone_s3.digests import digest
from flowstone_s3.listing import S3Object

FORM_SIZE = 4
SINCE_SIZE = 4


class Pending:
    """What waits, and since when it is as it is.

    Args:
        before: What waited at the poll before: by the key's digest, a digest of ETag, size and
            time of modification, and since when, in seconds of the epoch.
        now: The time, aware.
        settle: How long an object must be unchanged; none waits for nothing.
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
        """Whether others wait than before, or from another time on."""
        return self._entries != self._before

    def entries(self) -> dict[bytes, bytes]:
        """Return what waits now."""
        return self._entries

    def settled(self, key: bytes, item: S3Object) -> bool:
        """Say whether an object need not wait any longer; if it must, it is taken down."""
        if not self._settle:
            return True
        text = f"{item.etag}\0{item.size}\0{item.last_modified.timestamp()}"
        form = digest(text, FORM_SIZE)
        since = self._now
        before = self._before.get(key)
        if before is not None and before[:FORM_SIZE] == form:
            # A clock that was set back begins anew: it cannot tell how long it has been.
            since = min(since, int.from_bytes(before[FORM_SIZE:], "big"))
        if timedelta(seconds=self._now - since) >= self._settle:
            return True
        self._entries[key] = form + since.to_bytes(SINCE_SIZE, "big")
        return False
