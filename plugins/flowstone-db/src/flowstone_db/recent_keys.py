"""Recent keys: the last rows behind the cursor, by which rows that came too late are told.

A row whose key is not above the cursor is never read: its transaction took longer than ``lag``, its
id was drawn before those of others and committed after, its timestamp was copied. The keys of the
last rows are kept as hashes; a key among them that was neither kept nor just read has come late.
Rows before them are only counted.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from flowstone_core import Skipped
from flowstone_db.statements import Key
from flowstone_db.value import canonical, decode_value, encode_value, show_value

if TYPE_CHECKING:
    from pydantic import JsonValue

KEPT = 500
"""Number of rows behind the cursor that are known."""

READ = 2 * KEPT
"""Most keys that one poll reads again: the known ones, and as many that have come late."""

COUNTED = 10_000
"""Most rows before the known ones that are counted."""

_HASH_BYTES = 4
_REASON = "row behind the last one read"


class OlderState(TypedDict):
    """Stored form of the older rows. Its keys are persisted and must not change.

    Attributes:
        above: The key above which rows are counted; None for all.
        rows: Their number, up to the key above which all rows are known.
    """

    above: list[JsonValue] | None
    rows: int


class RecentState(TypedDict):
    """Stored form of the recent keys. Its keys are persisted and must not change.

    Attributes:
        above: The key above which all rows are known; None if all rows are.
        hashes: The hashes of the keys, in base64.
        older: The rows before; None if they are not counted.
    """

    above: list[JsonValue] | None
    hashes: str
    older: OlderState | None


@dataclass(frozen=True, slots=True)
class OlderRows:
    """The rows before the recent keys.

    Attributes:
        above: The key above which they are counted; None for all.
        rows: Their number.
    """

    above: Key | None
    rows: int


@dataclass(frozen=True, slots=True)
class RecentKeys:
    """The keys of the last rows up to the cursor.

    Attributes:
        above: The key above which all rows up to the cursor are known; None if all rows are.
        hashes: The hashes of their keys.
        older: The rows before, up to ``above``; None if they are not counted.
    """

    above: Key | None = None
    hashes: tuple[bytes, ...] = ()
    older: OlderRows | None = None

    def state(self) -> RecentState:
        """Return the form to store."""
        text = base64.b64encode(b"".join(self.hashes)).decode("ascii")
        older = None
        if self.older is not None:
            older = OlderState(above=_encoded(self.older.above), rows=self.older.rows)
        return RecentState(above=_encoded(self.above), hashes=text, older=older)

    @classmethod
    def of(cls, state: RecentState | None) -> RecentKeys | None:
        """Return the keys of a stored form; None without one.

        Raises:
            ValueError: If the form is invalid.
        """
        if state is None:
            return None
        raw = base64.b64decode(state["hashes"], validate=True)
        hashes = tuple(map(bytes, zip(*[iter(raw)] * _HASH_BYTES, strict=True)))
        older = state.get("older")
        counted = None if older is None else OlderRows(_decoded(older["above"]), older["rows"])
        return cls(_decoded(state["above"]), hashes, counted)


class KeysRead:
    """The keys that one poll has read, of which the last are kept."""

    def __init__(self) -> None:
        self.count = 0
        self._hashes: deque[bytes] = deque(maxlen=READ)

    def add(self, key: Key) -> None:
        """Add the key of a row; rows are added in the order of their keys."""
        self.count += 1
        self._hashes.append(_hash(key))

    def late(self, known: RecentKeys, found: Sequence[Key]) -> list[Key]:
        """Return the keys that were not read, from the keys now found above ``known.above``."""
        expected = Counter(known.hashes)
        expected.update(self._hashes)
        late = []
        for key in found:
            text = _hash(key)
            if expected[text] > 0:
                expected[text] -= 1
            else:
                late.append(key)
        return late


def recent_keys(found: Sequence[Key], above: Key | None) -> RecentKeys:
    """Return the keys to know from now on.

    Args:
        found: The last keys up to the cursor, at most `READ`, the greatest first.
        above: The key above which they were searched.
    """
    kept = list(found[:KEPT])
    if len(found) > KEPT:
        # Rows with the same key are known together, or not at all.
        above = found[KEPT]
        while kept and kept[-1] == above:
            kept.pop()
    return RecentKeys(above, tuple(map(_hash, kept)))


def skipped(
    columns: Sequence[str], late: Sequence[Key], count: int, above: Key | None
) -> list[Skipped]:
    """Return the report of rows that came too late; empty if there are none.

    Args:
        columns: The columns of the key.
        late: Keys of late rows.
        count: Number of late rows.
        above: The key up to which late rows are only counted.
    """
    if count == 0:
        return []
    key, which = (late[0], "") if late else (above, "a row up to ")
    named = zip(columns, key or (), strict=False)
    example = ", ".join(f"{name}={show_value(value)}" for name, value in named)
    return [Skipped(_REASON, count, which + example if example else "")]


def _encoded(key: Key | None) -> list[JsonValue] | None:
    return None if key is None else [encode_value(value) for value in key]


def _decoded(form: list[JsonValue] | None) -> Key | None:
    return None if form is None else tuple(map(decode_value, form))


def _hash(key: Key) -> bytes:
    text = canonical([encode_value(value) for value in key])
    return hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]
