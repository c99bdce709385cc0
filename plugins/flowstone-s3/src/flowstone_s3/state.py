"""The stored state: its form, and how it is read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NotRequired, TypedDict

from flowstone_core import SensorBroken
from flowstone_s3.digests import read_entries, write_entries
from flowstone_s3.legacy_state import FormerMemory
from flowstone_s3.settling import FORM_SIZE, SINCE_SIZE

VERSION = 2
"""The version of the state's form."""

REMEMBER_GONE = timedelta(days=1)
"""How long, at least, an object that is listed no more is still known if it comes back."""

KEY_SIZE = 8
ETAG_SIZE = 5
STAMP_SIZE = 3

_ENTRY = KEY_SIZE + ETAG_SIZE + STAMP_SIZE
_WAITING = KEY_SIZE + FORM_SIZE + SINCE_SIZE


class SeenState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        seen: The entries of the objects listed last, in base64.
        gone: The entries of those listed no more, by the hour (ISO 8601, UTC) they were missed.
        pending: The entries of those that wait to be settled.
        horizon: The time (ISO 8601, UTC) before which whatever was modified is known.
        former: What a state of version 1 knew and no listing has shown since, by the hour.
    """

    version: int
    seen: str
    gone: dict[str, str]
    pending: str
    horizon: str | None
    former: NotRequired[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Record:
    """A state in memory.

    Attributes:
        seen: By the key's digest, the digest of its version.
        gone: By the hour, whole entries.
        pending: By the key's digest, how it was and since when.
        horizon: The time before which everything is known.
        former: What version 1 knew.
        migrated: Whether the state was of version 1.
    """

    seen: dict[bytes, bytes]
    gone: dict[datetime, set[bytes]]
    pending: dict[bytes, bytes]
    horizon: datetime | None
    former: FormerMemory
    migrated: bool = False


def empty_state() -> SeenState:
    """Return the state of a sensor that has seen nothing."""
    return SeenState(version=VERSION, seen="", gone={}, pending="", horizon=None)


def read_record(state: SeenState, hour: datetime) -> Record:
    """Read a state, of this version or of the one before.

    Args:
        state: What was stored.
        hour: The present one; what was gone too long before it is left out.

    Raises:
        SensorBroken: If the state is not one that this version can read.
    """
    try:
        version: object = state["version"]
        if version == VERSION:
            return Record(
                _by_key(state["seen"], _ENTRY),
                {
                    at: set(read_entries(text, _ENTRY))
                    for at, text in _lately(state["gone"], hour).items()
                },
                _by_key(state["pending"], _WAITING),
                None if state["horizon"] is None else _aware(state["horizon"]),
                FormerMemory("", _lately(state.get("former", {}), hour)),
            )
        if version == 1:
            former = FormerMemory(state["seen"], _lately(state["gone"], hour))
            return Record({}, {}, {}, None, former, migrated=True)
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


def write_record(record: Record, hour: datetime, room: int) -> SeenState:
    """Write a state.

    Args:
        record: What is to be remembered.
        hour: The present one.
        room: How many entries there may be of what is gone. The earliest are forgotten; that can
            only make an object fire once too often.
    """
    state = SeenState(
        version=VERSION,
        seen=write_entries(key + version for key, version in record.seen.items()),
        gone={},
        pending=write_entries(key + form for key, form in record.pending.items()),
        horizon=None if record.horizon is None else record.horizon.isoformat(),
    )
    for at in sorted(record.gone, reverse=True):
        room -= len(record.gone[at])
        if room < 0:
            break
        if record.gone[at]:
            state["gone"][at.isoformat()] = write_entries(record.gone[at])
    if 0 < len(record.former) <= room:
        state["former"] = record.former.groups(hour)
    return state


def _by_key(text: str, size: int) -> dict[bytes, bytes]:
    return {entry[:KEY_SIZE]: entry[KEY_SIZE:] for entry in read_entries(text, size)}


def _lately(groups: Mapping[str, str], hour: datetime) -> dict[datetime, str]:
    # The hour that it was missed in is not over at its first minute.
    since = hour - REMEMBER_GONE - timedelta(hours=1)
    found = {_aware(at): text for at, text in groups.items()}
    return {at: text for at, text in found.items() if at > since}


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("it has no zone")
    return at
