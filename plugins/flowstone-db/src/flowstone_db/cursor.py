"""How far rows have been read: what is stored between polls, and what it may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID

from flowstone_core import SensorBroken
from flowstone_db.errors import CursorError
from flowstone_db.state import read_stored
from flowstone_db.statements import Key
from flowstone_db.timestamps import form_of
from flowstone_db.value import decode_value, encode_value
from flowstone_db.watermark import Fence

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the state's form."""

_ID_TYPES = (int, float, str, Decimal, UUID, bytes)
_FIRES = "the rows there are"


class RowsState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        cursor: The key of the last row that was read.
        settled: Up to where open transactions have been waited for.
        fence: What waits for open transactions.
        started: Whether the rows that were there at first have been dealt with.
    """

    version: int
    cursor: list[JsonValue] | None
    settled: JsonValue
    fence: Fence | None
    started: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What a `RowsState` means.

    Attributes:
        cursor: The key of the last row that was read, as the database gave it.
        settled: As it is stored.
        fence: As it is stored.
        started: As it is stored.
    """

    cursor: Key | None = None
    settled: JsonValue = None
    fence: Fence | None = None
    started: bool = False

    def state(self) -> RowsState:
        """Return what to store."""
        cursor = None if self.cursor is None else [encode_value(value) for value in self.cursor]
        return RowsState(
            version=VERSION,
            cursor=cursor,
            settled=self.settled,
            fence=self.fence,
            started=self.started,
        )


def read_state(state: RowsState, columns: Sequence[str]) -> Progress:
    """Read what was stored.

    Args:
        columns: Those of the key.

    Raises:
        SensorBroken: If this version cannot read it, or its key has not as many columns.
    """
    found = read_stored(state, VERSION, _progress, _FIRES)
    cursor = found.cursor
    if cursor is not None and len(cursor) != len(columns):
        raise SensorBroken(
            f"the stored state is of another mode than one by {' and '.join(columns)}: "
            f"reset the sensor by 'flowstone sensors reset'; it then fires for {_FIRES}"
        )
    return found


def _progress(state: Mapping[str, Any]) -> Progress:
    forms = state["cursor"]
    cursor = None if forms is None else tuple(map(decode_value, forms))
    return Progress(cursor, state["settled"], state["fence"], state["started"])


@dataclass
class KeyCheck:
    """Sees to it that all keys are of the types of the first, so that they can be compared.

    Attributes:
        columns: Those of the key.
        stamped: Whether the first of them is a timestamp.
    """

    columns: Sequence[str]
    stamped: bool
    _kinds: dict[str, object] = field(default_factory=dict)

    def check(self, key: Key) -> None:
        """Check a key, or the first part of one.

        Raises:
            CursorError: If a column's type is another one than before, or cannot be a key.
        """
        for number, (column, value) in enumerate(zip(self.columns, key, strict=False)):
            try:
                kind = form_of(value) if self.stamped and number == 0 else _id_type(value)
            except ValueError as error:
                raise CursorError(
                    f"column {column!r:.80} does not tell which rows are new: {error}",
                    hint="select another column, or cast this one in a query",
                ) from None
            if self._kinds.setdefault(column, kind) != kind:
                raise CursorError(
                    f"column {column!r:.80} held values like {_shown(self._kinds[column])}, and "
                    f"now {value!r:.80}: they cannot be compared",
                    hint="write all alike; if the column was changed on purpose, reset the sensor",
                )


def is_nan(value: object) -> bool:
    """Say whether a value is NaN, which databases sort after all numbers."""
    return isinstance(value, float | Decimal) and math.isnan(value)


def _id_type(value: object) -> object:
    if is_nan(value):
        raise ValueError("it is NaN")
    if not isinstance(value, _ID_TYPES) or isinstance(value, bool):
        raise ValueError(f"it is of type {type(value).__qualname__}")
    return type(value)


def _shown(kind: object) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
