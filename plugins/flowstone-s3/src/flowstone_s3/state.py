"""Stored state of `s3_file_arrival`: its JSON form, decoding and encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NotRequired, TypedDict

from flowstone_core import SensorBroken
from flowstone_s3.digests import read_entries, write_entries
from flowstone_s3.late_objects import OlderState
from flowstone_s3.legacy_state import LegacySeenObjects
from flowstone_s3.settling import FINGERPRINT_SIZE, SINCE_SIZE

VERSION = 2
"""The version of the stored state."""

GONE_RETENTION = timedelta(days=1)
"""Shortest time for which an object that is no longer listed is remembered."""

ASIDE_LIMIT = 30_000
"""Most skipped objects that are tried again: the state stays below what FlowStone stores."""

KEY_SIZE = 8
ETAG_SIZE = 5
STAMP_SIZE = 3

_ENTRY = KEY_SIZE + ETAG_SIZE + STAMP_SIZE
_WAITING = KEY_SIZE + FINGERPRINT_SIZE + SINCE_SIZE


class SeenState(TypedDict):
    """Stored state of the sensor. Its keys are persisted and must not change.

    Attributes:
        version: The version of the state.
        seen: The entries of the last listing, in base64.
        gone: The entries that are no longer listed, by the hour (ISO 8601, UTC) they went missing.
        pending: The entries of settling objects.
        horizon: The time (ISO 8601, UTC); all objects modified before it are known.
        former: Entries of version 1 that no listing has shown since, by the hour.
        aside: The keys' digests of objects that were skipped as unreadable.
        since: The time (ISO 8601, UTC) of the earliest prefix that is still listed.
        older: Facts on the objects before the horizon.
    """

    version: int
    seen: str
    gone: dict[str, str]
    pending: str
    horizon: str | None
    former: NotRequired[dict[str, str]]
    aside: NotRequired[str]
    since: NotRequired[str]
    older: NotRequired[OlderState]


@dataclass(frozen=True, slots=True)
class DecodedState:
    """A decoded state.

    Attributes:
        seen: The digest of the version, by the key's digest.
        gone: Whole entries, by the hour.
        settling: The fingerprint and start time of settling objects, by the key's digest.
        horizon: All objects modified before this time are known.
        legacy: The entries of version 1.
        aside: The keys' digests of skipped objects.
        older: Facts on the objects before the horizon; None if unknown.
        migrated: Whether the state was of version 1.
    """

    seen: dict[bytes, bytes]
    gone: dict[datetime, set[bytes]]
    settling: dict[bytes, bytes]
    horizon: datetime | None
    legacy: LegacySeenObjects
    aside: set[bytes]
    older: OlderState | None = None
    migrated: bool = False


def empty_state() -> SeenState:
    """Return the initial state."""
    return SeenState(version=VERSION, seen="", gone={}, pending="", horizon=None)


def decode_state(state: SeenState, hour: datetime) -> DecodedState:
    """Decode a state of this version or of version 1.

    Args:
        state: The stored state.
        hour: The present hour; entries missing for longer than `GONE_RETENTION` are dropped.

    Raises:
        SensorBroken: If the state has another version, or is damaged.
    """
    try:
        version: object = state["version"]
        if version == VERSION:
            return DecodedState(
                _by_key(state["seen"], _ENTRY),
                {
                    at: set(read_entries(text, _ENTRY))
                    for at, text in _lately(state["gone"], hour).items()
                },
                _by_key(state["pending"], _WAITING),
                None if state["horizon"] is None else _aware(state["horizon"]),
                LegacySeenObjects("", _lately(state.get("former", {}), hour)),
                set(read_entries(state.get("aside", ""), KEY_SIZE)),
                state.get("older"),
            )
        if version == 1:
            former = LegacySeenObjects(state["seen"], _lately(state["gone"], hour))
            return DecodedState({}, {}, {}, None, former, set(), migrated=True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_state(error) from None
    raise unsupported_version(version, VERSION, "it then fires for every existing object")


def listed_since(state: SeenState) -> datetime | None:
    """Return the time that the next poll lists from; None if the state has none.

    Raises:
        SensorBroken: If the state is damaged.
    """
    text = state.get("since")
    try:
        return None if text is None else _aware(text)
    except (TypeError, ValueError) as error:
        raise damaged_state(error) from None


def with_listed_since(state: SeenState, since: datetime) -> SeenState:
    """Return a state with the time that the next poll lists from; the given one if it has that."""
    text = since.isoformat()
    return state if state.get("since") == text else SeenState(**{**state, "since": text})


def encode_state(decoded: DecodedState, hour: datetime, room: int) -> SeenState:
    """Encode a state.

    Args:
        decoded: The state to encode.
        hour: The present hour.
        room: Most entries of missing objects. The earliest are dropped; at worst an object that
            comes back fires a second time.
    """
    state = SeenState(
        version=VERSION,
        seen=write_entries(key + version for key, version in decoded.seen.items()),
        gone={},
        pending=write_entries(key + form for key, form in decoded.settling.items()),
        horizon=None if decoded.horizon is None else decoded.horizon.isoformat(),
    )
    for at in sorted(decoded.gone, reverse=True):
        room -= len(decoded.gone[at])
        if room < 0:
            break
        if decoded.gone[at]:
            state["gone"][at.isoformat()] = write_entries(decoded.gone[at])
    if 0 < len(decoded.legacy) <= room:
        state["former"] = decoded.legacy.groups(hour)
    if decoded.aside:
        state["aside"] = write_entries(sorted(decoded.aside)[:ASIDE_LIMIT])
    if decoded.older is not None:
        state["older"] = decoded.older
    return state


def unsupported_version(found: object, supported: int, after_reset: str) -> SensorBroken:
    """Return the error for a state of another version."""
    return SensorBroken(
        f"unsupported state version {found!r:.40} (this flowstone-s3 reads version {supported}): "
        "install the flowstone-s3 that wrote it, or reset the sensor with "
        f"'flowstone sensors reset'; {after_reset}"
    )


def damaged_state(error: Exception) -> SensorBroken:
    """Return the error for a state that cannot be read."""
    return SensorBroken(
        f"cannot read the stored state ({type(error).__name__}): reset the sensor with "
        "'flowstone sensors reset'; it then fires for every existing object"
    )


def _by_key(text: str, size: int) -> dict[bytes, bytes]:
    return {entry[:KEY_SIZE]: entry[KEY_SIZE:] for entry in read_entries(text, size)}


def _lately(groups: Mapping[str, str], hour: datetime) -> dict[datetime, str]:
    # An hour counts until its last minute.
    since = hour - GONE_RETENTION - timedelta(hours=1)
    found = {_aware(at): text for at, text in groups.items()}
    return {at: text for at, text in found.items() if at > since}


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("the time has no zone")
    return at
