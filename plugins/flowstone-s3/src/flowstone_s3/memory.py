"""What has been seen: a digest of each object, so small that 100,000 of them are 1.6 MB.

Each object is one entry of 12 bytes: 8 of a digest of its key and ETag, which say *what* it is,
and 4 of its time of modification, which tell a copy that was *written again* from one that a
listing merely left out for a while. All entries are sorted, joined, and kept as one text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from flowstone_core import SensorBroken
from flowstone_s3.errors import S3Error

VERSION = 1
"""The version of the state's form."""

REMEMBER_GONE = timedelta(days=1)
"""How long, at least, an object that is listed no more is still known if it comes back."""

OBJECT_LIMIT = 500_000
"""Most objects of one sensor: with it the state stays below what FlowStone stores."""

_IDENTITY = 8
_STAMP = 4
_ENTRY = _IDENTITY + _STAMP


class SeenState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        seen: The entries of the objects listed last, in base64.
        gone: The entries of those listed no more, by the hour (ISO 8601, UTC) they were missed.
    """

    version: int
    seen: str
    gone: dict[str, str]


class Memory:
    """What was seen before, while one listing goes by.

    Args:
        state: What was stored.
        now: The time, aware.
        limit: Most objects that are remembered.

    Raises:
        SensorBroken: If the state is not one that this version can read.
    """

    def __init__(self, state: SeenState, now: datetime, limit: int = OBJECT_LIMIT) -> None:
        self._state = state
        self._limit = limit
        self._hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        self._seen, self._gone = _read(state, self._hour)
        self._away = {key: stamp for group in self._gone.values() for key, stamp in group.items()}
        self._present: dict[bytes, bytes] = {}

    def observe(self, key: str, etag: str, last_modified: datetime) -> bool:
        """Take note of an object that is listed.

        Returns:
            Whether it is new: its key was never listed with this ETag, or it has been written
            again after it was gone.

        Raises:
            S3Error: If there are more objects than can be remembered.
        """
        identity = hashlib.sha256(f"{key}\0{etag}".encode()).digest()[:_IDENTITY]
        if identity in self._present:
            return False
        if len(self._present) == self._limit:
            raise S3Error(
                f"there are more than {self._limit:,} objects; one sensor cannot remember more",
                hint="watch narrower prefixes by several sensors, or move old objects elsewhere",
            )
        stamp = _stamp(last_modified)
        self._present[identity] = stamp
        return identity not in self._seen and self._away.get(identity) != stamp

    def state(self) -> SeenState:
        """Return what to store after the listing; the state given if nothing has changed.

        Times of modification alone change nothing: they are stored along with the next change.
        """
        if self._present.keys() == self._seen.keys():
            return self._state
        missing = {key: stamp for key, stamp in self._seen.items() if key not in self._present}
        gone = {
            hour: {key: stamp for key, stamp in group.items() if key not in self._present}
            for hour, group in self._gone.items()
        }
        gone[self._hour] = gone.get(self._hour, {}) | missing
        return SeenState(
            version=VERSION,
            seen=_write(self._present),
            gone={
                hour.isoformat(): _write(group)
                for hour, group in _within_limit(gone, self._limit - len(self._present))
            },
        )


def empty_state() -> SeenState:
    """Return the state of a sensor that has seen nothing."""
    return SeenState(version=VERSION, seen="", gone={})


def _stamp(last_modified: datetime) -> bytes:
    milliseconds = round(last_modified.timestamp() * 1000)
    return milliseconds.to_bytes(8, "big", signed=True)[-_STAMP:]


def _within_limit(
    gone: Mapping[datetime, dict[bytes, bytes]], room: int
) -> list[tuple[datetime, dict[bytes, bytes]]]:
    """Keep the latest hours that fit; forgetting one early can only fire once too often."""
    kept = []
    for hour in sorted(gone, reverse=True):
        room -= len(gone[hour])
        if room < 0:
            break
        if gone[hour]:
            kept.append((hour, gone[hour]))
    return kept


def _read(
    state: SeenState, hour: datetime
) -> tuple[dict[bytes, bytes], dict[datetime, dict[bytes, bytes]]]:
    try:
        version: object = state["version"]
        if version == VERSION:
            seen = _entries(state["seen"])
            groups = {datetime.fromisoformat(at): text for at, text in state["gone"].items()}
            # The hour that it was missed in is not over at its first minute.
            since = hour - REMEMBER_GONE - timedelta(hours=1)
            return seen, {at: _entries(text) for at, text in groups.items() if at > since}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SensorBroken(
            f"the stored state cannot be read ({type(error).__name__}): reset the sensor by "
            "'flowstone sensors reset'; it then fires for every object there is"
        ) from None
    raise SensorBroken(
        f"the stored state has version {version!r:.40}, and this flowstone-s3 reads version "
        f"{VERSION}: install the flowstone-s3 that wrote it, or reset the sensor by "
        "'flowstone sensors reset'; it then fires for every object there is"
    )


def _entries(text: str) -> dict[bytes, bytes]:
    raw = base64.b64decode(text, validate=True)
    if len(raw) % _ENTRY:
        raise binascii.Error("an entry is cut off")
    return {
        raw[start : start + _IDENTITY]: raw[start + _IDENTITY : start + _ENTRY]
        for start in range(0, len(raw), _ENTRY)
    }


def _write(entries: Mapping[bytes, bytes]) -> str:
    joined = b"".join(sorted(identity + stamp for identity, stamp in entries.items()))
    return base64.b64encode(joined).decode("ascii")
