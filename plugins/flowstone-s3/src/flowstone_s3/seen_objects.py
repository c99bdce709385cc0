"""What has been seen, in digests: 16 bytes of memory and 22 of the stored state for an object.

Each object is one entry: 8 bytes of a digest of its key, which say *which* object it is, 5 of one
of its ETag, which say *what* is in it, and 3 of its time of modification, which tell a copy that
was *written again* from one that a listing merely left out for a while.

With a window the state does not grow with the number of objects. No object is made visible later
than a window after the time that the server gives it; so whatever was modified longer than that
before the latest time seen, the **horizon**, was seen already. It only moves forward, and what a
poll finds is judged by the horizon of the poll before it: what lies between two polls is found
however long they are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from flowstone_s3.digests import digest, stamp
from flowstone_s3.errors import S3Error
from flowstone_s3.listing import S3Object
from flowstone_s3.settling import Pending
from flowstone_s3.state import (
    ETAG_SIZE,
    KEY_SIZE,
    STAMP_SIZE,
    Record,
    SeenState,
    empty_state,
    read_record,
    write_record,
)

OBJECT_LIMIT = 375_000
"""Most objects of one sensor: with it the state stays below what FlowStone stores."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What fires, and what is remembered.

    Attributes:
        on: Whether objects fire that were never seen, those of which there is another ETag, or
            both.
        settle: How long an object must have been listed unchanged before it fires.
        window: How long after its time of modification an object may become visible; None if
            nothing is known about that.
        limit: Most objects that are remembered.
    """

    on: Literal["created", "changed", "both"] = "both"
    settle: timedelta = timedelta(0)
    window: timedelta | None = None
    limit: int = OBJECT_LIMIT


class Memory:
    """What was seen before, while one listing goes by.

    Args:
        state: What was stored.
        now: The time, aware.
        rules: What fires, and what is remembered.

    Raises:
        SensorBroken: If the state is not one that this version can read.
    """

    def __init__(self, state: SeenState, now: datetime, rules: Rules | None = None) -> None:
        self._state = state
        self._rules = rules or Rules()
        self._hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        record = read_record(state, self._hour)
        self._gone, self._former, self._horizon = record.gone, record.former, record.horizon
        self._left = record.seen
        self._away = {entry for group in self._gone.values() for entry in group}
        self._pending = Pending(record.pending, now, self._rules.settle)
        self._first = state == empty_state()
        self._present: dict[bytes, bytes] = {}
        self._written: dict[bytes, datetime] = {}
        self._replaced: set[bytes] = set()
        self._newest: datetime | None = None
        self._room = self._rules.limit
        # A state of an older form is written anew whatever is listed.
        self._changed = record.migrated
        self._any_kind = record.migrated or self._rules.on == "both"

    def observe(self, item: S3Object, answered: datetime | None = None) -> bool:
        """Take note of an object that is listed.

        Args:
            item: The object.
            answered: The server's time, if it told.

        Returns:
            Whether it fires.

        Raises:
            S3Error: If there are more objects than can be remembered.
        """
        at = item.last_modified
        old = self._horizon is not None and at < self._horizon
        if old and not self._pending:
            return False
        key = digest(item.key, KEY_SIZE)
        if key in self._present or (old and key not in self._pending):
            return False
        self._advance(at, answered)
        version = digest(item.etag, ETAG_SIZE) + stamp(at, STAMP_SIZE)
        known = self._left.pop(key, None)
        if known is not None and known[:ETAG_SIZE] == version[:ETAG_SIZE]:
            self._keep(key, version, at)
            return False
        if key + version in self._away or (known is None and self._former.knows(item)):
            self._replace(key, known, version, at)
            return False
        self._make_room()
        if not self._settled_before(at, answered) and not self._pending.settled(key, item):
            if known is not None:
                self._keep(key, known, at)
            return False
        self._replace(key, known, version, at)
        return self._any_kind or (known is None) == (self._rules.on == "created")

    def state(self) -> SeenState:
        """Return what to store after the listing; the state given if nothing has changed.

        Times of modification alone change nothing: they are stored along with the next change.

        Raises:
            S3Error: If there are more objects than can be remembered.
        """
        if not self._changed and not self._left and not self._pending.changed:
            return self._state
        self._forget_old()
        room = self._rules.limit - self._count()
        if room < 0:
            raise self._too_many()
        missing = {key + version for key, version in self._left.items()} | self._replaced
        gone = {**self._gone, self._hour: self._gone.get(self._hour, set()) | missing}
        present = {key + version for key, version in self._present.items()}
        return write_record(
            Record(
                self._present,
                {hour: group - present for hour, group in gone.items()},
                self._pending.entries(),
                self._latest_horizon(),
                self._former,
            ),
            self._hour,
            room,
        )

    def _settled_before(self, at: datetime, answered: datetime | None) -> bool:
        # Before anything was ever seen the server's word is taken for it: what has been there for
        # long belongs to the first poll, which may be told to fire nothing.
        return self._first and answered is not None and answered - at >= self._rules.settle

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

    def _advance(self, at: datetime, answered: datetime | None) -> None:
        # No object is modified later than now. Where one claims to be, its time must not push the
        # horizon past those of others.
        at = at if answered is None else min(at, answered)
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
        # At the first poll a window is not narrower than the whole listing before its newest
        # object has come by, so it must be let grow; doubling keeps this from being done often.
        self._forget_old()
        self._room = 2 * max(self._count(), self._rules.limit)

    def _forget_old(self) -> None:
        horizon = self._latest_horizon()
        for key in [key for key, at in self._written.items() if horizon and at < horizon]:
            del self._present[key], self._written[key]

    def _count(self) -> int:
        return len(self._present) + len(self._pending.entries())

    def _too_many(self) -> S3Error:
        limit = f"{self._rules.limit:,}"
        if self._rules.window is not None:
            return S3Error(
                f"there are more than {limit} objects within the window; one sensor cannot "
                "remember more",
                hint="set a shorter window, or watch narrower prefixes by several sensors",
            )
        return S3Error(
            f"there are more than {limit} objects; one sensor cannot remember more",
            hint="set window = 7d, with which only younger objects are remembered; or a prefix "
            "with ${year}/${month}/${day}, if keys have dates; or watch narrower prefixes by "
            "several sensors; or let the bucket tell of its objects by s3_event_queue",
        )
