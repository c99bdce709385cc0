"""Cursor of `database_rows`: the stored state, its decoding, and the type check of keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict
from uuid import UUID

from flowstone_core import SensorBroken
from flowstone_db.errors import CursorError
from flowstone_db.recent_keys import RecentKeys, RecentState
from flowstone_db.state import decode_state
from flowstone_db.statements import Key
from flowstone_db.timestamps import timestamp_format
from flowstone_db.value import decode_value, encode_value, show_value
from flowstone_db.watermark import Watermark

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the stored state."""

_ID_TYPES = (int, float, str, Decimal, UUID, bytes)
_FIRES = "all existing rows"


class RowsState(TypedDict):
    """Stored state of the sensor. Its keys are persisted and must not change.

    Attributes:
        version: The version of the state.
        cursor: The key of the last row that was read.
        settled: The bound below which no transaction is open.
        fence: The watermark: a bound that waits for open transactions.
        started: Whether the rows of the first poll have been handled.
        first_pass: Whether the cursor was read in the first pass of an hour that comes twice.
        recent: The last rows up to the cursor, by which late rows are told. States of earlier
            versions do not have it.
    """

    version: int
    cursor: list[JsonValue] | None
    settled: JsonValue
    fence: Watermark | None
    started: bool
    first_pass: NotRequired[bool]
    recent: NotRequired[RecentState | None]


@dataclass(frozen=True, slots=True)
class RowsProgress:
    """A decoded `RowsState`.

    Attributes:
        cursor: The key of the last row that was read, as database values.
        settled: As in the stored state.
        watermark: ``fence`` of the stored state.
        started: As in the stored state.
        first_pass: As in the stored state.
        recent: The last rows up to the cursor; None if they are not known yet.
    """

    cursor: Key | None = None
    settled: JsonValue = None
    watermark: Watermark | None = None
    started: bool = False
    first_pass: bool = False
    recent: RecentKeys | None = None

    def state(self) -> RowsState:
        """Return the state to store."""
        cursor = None if self.cursor is None else [encode_value(value) for value in self.cursor]
        return RowsState(
            version=VERSION,
            cursor=cursor,
            settled=self.settled,
            fence=self.watermark,
            started=self.started,
            first_pass=self.first_pass,
            recent=None if self.recent is None else self.recent.state(),
        )


def decode_rows_state(state: RowsState, columns: Sequence[str]) -> RowsProgress:
    """Decode the stored state.

    Args:
        columns: The columns of the key.

    Raises:
        SensorBroken: If the state has another version, is damaged, or has another number of
            columns.
    """
    found = decode_state(state, VERSION, _progress, _FIRES)
    cursor = found.cursor
    if cursor is not None and len(cursor) != len(columns):
        raise SensorBroken(
            f"the stored state is of another mode, not by {' and '.join(columns)}: "
            f"reset the sensor with 'flowstone sensors reset'; it then fires for {_FIRES}"
        )
    return found


def _progress(state: Mapping[str, Any]) -> RowsProgress:
    forms = state["cursor"]
    cursor = None if forms is None else tuple(map(decode_value, forms))
    return RowsProgress(
        cursor,
        state["settled"],
        state["fence"],
        state["started"],
        state.get("first_pass", False),
        RecentKeys.of(state.get("recent")),
    )


@dataclass
class KeyCheck:
    """Type check of keys: all must have the types of the first, so that they can be compared.

    Attributes:
        columns: The columns of the key.
        by_timestamp: Whether the first column is a timestamp.
    """

    columns: Sequence[str]
    by_timestamp: bool
    _kinds: dict[str, object] = field(default_factory=dict)

    def check(self, key: Key) -> None:
        """Check a key, or the first part of one.

        Raises:
            CursorError: If the type of a column has changed, or cannot be a key.
        """
        for number, (column, value) in enumerate(zip(self.columns, key, strict=False)):
            try:
                kind = (
                    timestamp_format(value)
                    if self.by_timestamp and number == 0
                    else _id_type(value)
                )
            except ValueError as error:
                raise CursorError(
                    f"column {column!r:.80} cannot order rows: {error}",
                    hint="select another column, or cast this one in a query",
                ) from None
            if self._kinds.setdefault(column, kind) != kind:
                raise CursorError(
                    f"column {column!r:.80} has changed its type from "
                    f"{_shown(self._kinds[column])} to that of {show_value(value)}",
                    hint="write all values alike; after a deliberate change, reset the sensor",
                )


def is_nan(value: object) -> bool:
    """Return True if a value is NaN, which databases sort after all numbers."""
    return isinstance(value, float | Decimal) and math.isnan(value)


def _id_type(value: object) -> object:
    if is_nan(value):
        raise ValueError("the value is NaN")
    if not isinstance(value, _ID_TYPES) or isinstance(value, bool):
        raise ValueError(f"unsupported type {type(value).__qualname__}")
    return type(value)


def _shown(kind: object) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
