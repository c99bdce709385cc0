"""Objects that appear with a time before the window: they count as seen, and are told.

The state does not hold the objects before the horizon, so it cannot tell which of them are new.
It holds their number and the newest few of them: when the next listing has more of them, some
appeared late, and those among the newest are known by name.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypedDict, TypeVar

from flowstone_core import Skipped
from flowstone_s3.digests import digest, read_entries, write_entries
from flowstone_s3.unreadable import shown_key

K = TypeVar("K", str, bytes)

NEWEST = 16
"""Objects whose digests are kept."""

REASON = "modified before window and seen since: counts as known (set a longer window)"

_SIZE = 8


class OlderState(TypedDict):
    """Stored facts on the objects before the horizon.

    Attributes:
        count: Their number.
        newest: The keys' digests of the newest.
        floor: The time of the oldest of the newest, if there are more; None if they are all.
    """

    count: int
    newest: str
    floor: str | None


@dataclass(slots=True)
class NewestObjects(Generic[K]):
    """Number of objects, and the newest of them, by their keys or the digests of these."""

    count: int = 0
    newest: list[tuple[datetime, K]] = field(default_factory=list)

    def add(self, at: datetime, key: K) -> None:
        """Count an object."""
        self.count += 1
        if len(self.newest) < NEWEST:
            heapq.heappush(self.newest, (at, key))
        elif at > self.newest[0][0]:
            heapq.heapreplace(self.newest, (at, key))


def late_objects(before: OlderState, now: NewestObjects[str]) -> list[Skipped]:
    """Return the objects before the horizon that are new in a listing, as one item.

    Args:
        before: The stored facts of the listing before.
        now: The objects of this listing that are older than the stored horizon.

    Raises:
        ValueError: If the stored facts are damaged.
    """
    floor = None if before["floor"] is None else datetime.fromisoformat(before["floor"])
    known = set(read_entries(before["newest"], _SIZE))
    late = [
        key
        for at, key in sorted(now.newest, reverse=True)
        if (floor is None or at > floor) and digest(key, _SIZE) not in known
    ]
    # Those that were deleted meanwhile make the number too low.
    count = max(now.count - before["count"], len(late))
    return [Skipped(REASON, count, shown_key(late[0]) if late else "")] if count > 0 else []


def older_state(now: NewestObjects[str], passed: NewestObjects[bytes]) -> OlderState:
    """Return the facts to store.

    Args:
        now: The objects of the listing that are older than the stored horizon.
        passed: Those that the horizon has passed since, by the digests of their keys.
    """
    mine = [(at, digest(key, _SIZE)) for at, key in now.newest]
    newest = heapq.nlargest(NEWEST, [*mine, *passed.newest])
    count = now.count + passed.count
    return OlderState(
        count=count,
        newest=write_entries(key for _, key in newest),
        floor=newest[-1][0].isoformat() if count > NEWEST else None,
    )
