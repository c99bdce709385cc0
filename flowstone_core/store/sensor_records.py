"""Sensor records: rows of sensors, read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row

from flowstone_core.model.tick import SensorCheckpoint, TickOutcome
from flowstone_core.store.checkpoint_columns import SENSOR_CHECKPOINT


@dataclass(frozen=True, slots=True)
class SensorRecord:
    """A stored sensor.

    Attributes:
        checkpoint: The data kept from one tick to the next.
        paused: True if an operator paused it.
        owner: The id of the runner that ticks it; None if there is none.
        created_at: The time of its first declaration.
        last_tick_at: The end of its last tick that was not quiet; quiet ticks write nothing.
        last_outcome: The outcome of that tick.
        last_good_at: The end of the last such tick that was good.
        last_error: The error of the last such tick; None if it had none.
        stale_since: The end of its last good poll, if that was too long ago.
        quiet_reason: The reason why its polls find nothing, if the sensor gave one.
        quiet_since: When that reason was recorded.
    """

    name: str
    checkpoint: SensorCheckpoint
    paused: bool
    owner: str | None
    created_at: datetime
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    last_good_at: datetime | None = None
    last_error: str | None = None
    stale_since: datetime | None = None
    quiet_reason: str | None = None
    quiet_since: datetime | None = None


def checkpoint_of(row: Row[*tuple[object, ...]]) -> SensorCheckpoint:
    """Read a sensor's checkpoint from its row."""
    return SensorCheckpoint(*(getattr(row, name) for name in SENSOR_CHECKPOINT))


def record_of(row: Row[*tuple[object, ...]]) -> SensorRecord:
    """Read a sensor from its row."""
    return SensorRecord(
        name=row.name,
        checkpoint=checkpoint_of(row),
        paused=row.paused,
        owner=row.owner,
        created_at=row.created_at,
        last_tick_at=row.last_tick_at,
        last_outcome=None if row.last_outcome is None else TickOutcome(row.last_outcome),
        last_good_at=row.last_good_at,
        last_error=row.last_error,
        stale_since=row.stale_since,
        quiet_reason=row.quiet_reason,
        quiet_since=row.quiet_since,
    )
