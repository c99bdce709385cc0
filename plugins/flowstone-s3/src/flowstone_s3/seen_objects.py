"""Seen objects, as digests: 16 bytes of memory and 22 bytes of stored state per object.

Each object is one entry: 8 bytes of a digest of its key, which identify the object, 5 bytes of a
digest of its ETag, which identify its content, and 3 bytes of its time of modification, which tell
a copy that was *written again* from one that a listing left out for a while.

With a window the state does not grow with the number of objects. No object becomes visible later
than a window after its time of modification; so every object modified before the **horizon**, the
latest time seen minus the window, was seen already. The horizon only moves forward, and each poll
compares with the horizon of the previous poll: an object that arrives between two polls is found
at any distance between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from flowstone_core import Skipped
from flowstone_s3.digests import digest, stamp
from flowstone_s3.errors import S3Error
from flowstone_s3.late_objects import NewestObjects, OlderState, late_objects, older_state
from flowstone_s3.listing import S3Object
from flowstone_s3.listing_plan import Leaves
from flowstone_s3.settling import SettlingObjects
from flowstone_s3.state import (
    ETAG_SIZE,
    KEY_SIZE,
    STAMP_SIZE,
    DecodedState,
    SeenState,
    damaged_state,
    decode_state,
    empty_state,
    encode_state,
)

OBJECT_LIMIT = 375_000
"""Most objects of one sensor: with it the state stays below what FlowStone stores."""


@dataclass(frozen=True, slots=True)
class DetectionRules:
    """Rules of change detection.

    Attributes:
        on: The changes that fire: new keys, new ETags of known keys, or both.
        settle: The duration for which an object must be listed unchanged before it fires.
        window: The longest delay between modification and visibility of an object; None if
            unknown.
        limit: Most remembered objects.
    """

    on: Literal["created", "changed", "both"] = "both"
    settle: timedelta = timedelta(0)
    window: timedelta | None = None
    limit: int = OBJECT_LIMIT


class SeenObjects:
    """Memory of seen objects during one listing.

    Args:
        state: The stored state.
        now: The time, aware.
        rules: The rules of change detection.
        retry: True to let objects that were set aside fire again.

    Raises:
        SensorBroken: If the state has another version, or is damaged.
    """

    def __init__(
        self,
        state: SeenState,
        now: datetime,
        rules: DetectionRules | None = None,
        *,
        retry: bool = False,
    ) -> None:
        self._state = state
        self._rules = rules or DetectionRules()
        self._hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        decoded = decode_state(state, self._hour)
        self._gone, self._legacy, self._horizon = decoded.gone, decoded.legacy, decoded.horizon
        self._left = decoded.seen
        self._away = {entry for group in self._gone.values() for entry in group}
        self._settling = SettlingObjects(decoded.settling, now, self._rules.settle)
        self._first = {**state, "since": None} == {**empty_state(), "since": None}
        self._present: dict[bytes, bytes] = {}
        self._written: dict[bytes, datetime] = {}
        self._replaced: set[bytes] = set()
        self._aside_before, self._retry = decoded.aside, retry
        self._tried: set[bytes] = set()
        self._aside: set[bytes] = set()
        self._older_before = decoded.older
        self._older = NewestObjects[str]()
        self._passed = NewestObjects[bytes]()
        self._newest: datetime | None = None
        self._room = self._rules.limit
        # A state of an older version is always rewritten.
        self._changed = decoded.migrated
        self._any_kind = decoded.migrated or self._rules.on == "both"

    def observe(self, item: S3Object, server_time: datetime | None = None) -> bool:
        """Record a listed object, and return True if it fires.

        Args:
            item: The object.
            server_time: The server's time of the response; None if unknown.

        Raises:
            S3Error: If there are more objects than the limit.
        """
        at = item.last_modified
        old = self._horizon is not None and at < self._horizon
        if old and not self._settling:
            self._older.add(at, item.key)
            return False
        key = digest(item.key, KEY_SIZE)
        if key in self._present:
            return False
        if old and key not in self._settling:
            self._older.add(at, item.key)
            return False
        self._advance(at, server_time)
        version = digest(item.etag, ETAG_SIZE) + stamp(at, STAMP_SIZE)
        known = self._left.pop(key, None)
        if known is not None and known[:ETAG_SIZE] == version[:ETAG_SIZE]:
            self._keep(key, version, at)
            return self._judged(key, fires=False)
        if key + version in self._away or (known is None and self._legacy.knows(item)):
            self._replace(key, known, version, at)
            return self._judged(key, fires=False)
        self._make_room()
        if not self._settled_before(at, server_time) and not self._settling.settled(key, item):
            if known is not None:
                self._keep(key, known, at)
            return False
        self._replace(key, known, version, at)
        created = known is None
        return self._judged(key, fires=self._any_kind or created == (self._rules.on == "created"))

    def set_aside(self, key: str) -> bool:
        """Record that an object that fires cannot be used; return True if it was not known."""
        identity = digest(key, KEY_SIZE)
        self._aside.add(identity)
        return identity not in self._aside_before

    def late(self) -> list[Skipped]:
        """Return the objects that appeared with a time before the window, in one item.

        Raises:
            SensorBroken: If the stored facts on them are damaged.
        """
        if self._older_before is None:
            return []
        try:
            return late_objects(self._older_before, self._older)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_state(error) from None

    @property
    def settling(self) -> int:
        """The number of listed objects that have not settled."""
        return len(self._settling.entries())

    def __len__(self) -> int:
        return self._count()

    def state(self, leaves: Leaves = "missing") -> SeenState:
        """Return the state to store after the listing; the given state if nothing has changed.

        Times of modification alone change nothing: they are stored along with the next change.

        Args:
            leaves: The objects that are not listed again, and are remembered as gone: those that
                the listing misses, those that it has (of a backlog), or none.

        Raises:
            S3Error: If there are more objects than the limit.
        """
        seen, missing = {
            "missing": (self._present, self._left),
            "listed": (self._left, self._present),
            "nothing": (self._left | self._present, {}),
        }[leaves]
        aside = (self._aside_before - self._tried) | self._aside
        same = aside == self._aside_before and not self._settling.changed
        same = same and (leaves != "missing" or self._older_before in (None, self._older_now()))
        if same and not self._changed and not missing:
            return self._state
        settling = self._settling.all_but(self._present)
        if leaves == "missing":
            self._forget_old()
            settling = self._settling.entries()
        room = self._rules.limit - len(seen) - len(settling)
        if room < 0:
            raise self._too_many()
        gone = self._gone_after(missing, {key + version for key, version in seen.items()})
        if aside:
            known = {entry[:KEY_SIZE] for group in gone.values() for entry in group}
            aside = {key for key in aside if key in seen or key in known}
        # Prefixes that are still to be listed hold objects of all times: the horizon stays.
        horizon, older = self._horizon, self._older_before
        if leaves == "missing" and (horizon := self._latest_horizon()) is not None:
            older = self._older_now()
        decoded = DecodedState(seen, gone, settling, horizon, self._legacy, aside, older)
        return encode_state(decoded, self._hour, room)

    def _gone_after(
        self, missing: dict[bytes, bytes], present: set[bytes]
    ) -> dict[datetime, set[bytes]]:
        gone = {**self._gone, self._hour: self._gone.get(self._hour, set()) | self._replaced}
        gone[self._hour] |= {key + version for key, version in missing.items()}
        return {hour: group - present for hour, group in gone.items()}

    def _older_now(self) -> OlderState:
        return older_state(self._older, self._passed)

    def _judged(self, key: bytes, *, fires: bool) -> bool:
        """Return True if an object fires, or is tried again after it was set aside."""
        if key not in self._aside_before or not (fires or self._retry):
            return fires
        self._tried.add(key)
        return True

    def _settled_before(self, at: datetime, server_time: datetime | None) -> bool:
        # At the first poll the server's times decide: an object older than settle belongs to the
        # first poll, which may be configured to fire nothing.
        return self._first and server_time is not None and server_time - at >= self._rules.settle

    def _replace(self, key: bytes, known: bytes | None, version: bytes, at: datetime) -> None:
        self._changed = True
        if known is not None:
            self._replaced.add(key + known)
        self._keep(key, version, at)

    def _keep(self, key: bytes, version: bytes, at: datetime) -> None:
        self._make_room()
        self._present[key] = version
        if self._rules.window is not None:
            self._written[key] = at

    def _advance(self, at: datetime, server_time: datetime | None) -> None:
        # No object is modified later than now; a time in the future must not push the horizon
        # past the times of other objects.
        at = at if server_time is None else min(at, server_time)
        if self._newest is None or at > self._newest:
            self._newest = at

    def _latest_horizon(self) -> datetime | None:
        if self._rules.window is None or self._newest is None:
            return self._horizon
        latest = self._newest - self._rules.window
        return latest if self._horizon is None else max(latest, self._horizon)

    def _make_room(self) -> None:
        if self._count() < self._room:
            return
        if self._rules.window is None:
            raise self._too_many()
        # At the first poll nothing can be dropped before the newest object was listed, so memory
        # may grow; doubling the room keeps the clean-up rare.
        self._forget_old()
        self._room = 2 * max(self._count(), self._rules.limit)

    def _forget_old(self) -> None:
        horizon = self._latest_horizon()
        for key in [key for key, at in self._written.items() if horizon and at < horizon]:
            self._passed.add(self._written.pop(key), key)
            del self._present[key]

    def _count(self) -> int:
        return len(self._present) + len(self._settling.entries())

    def _too_many(self) -> S3Error:
        limit = f"{self._rules.limit:,}"
        if self._rules.window is not None:
            return S3Error(
                f"too many objects within the window: one sensor remembers at most {limit}",
                hint="set a shorter window, or watch narrower prefixes with several sensors",
            )
        return S3Error(
            f"too many objects: one sensor remembers at most {limit}",
            hint="set window = 7d to remember only younger objects; or a prefix with "
            "${year}/${month}/${day}, if keys have dates; or watch narrower prefixes with "
            "several sensors; or receive the bucket's notifications with s3_event_queue",
        )
