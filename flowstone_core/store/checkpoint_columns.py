"""Checkpoint columns: the values that a committed tick writes to the row of its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from sqlalchemy import ColumnElement, Table, bindparam, func

from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    ScheduleCommit,
    SensorCheckpoint,
    TickCommit,
)
from flowstone_core.store.column_types import UtcDateTime

SENSOR_CHECKPOINT = tuple(field.name for field in fields(SensorCheckpoint))
"""The columns of a sensor's checkpoint."""

SCHEDULE_CHECKPOINT = tuple(field.name for field in fields(ScheduleCheckpoint))
"""The columns of a schedule's checkpoint."""

GOOD_AT = bindparam("good_at", type_=UtcDateTime)
"""The end of the tick if it was good, else null."""


def tick_values(table: Table, checkpoint: Sequence[str]) -> dict[str, ColumnElement[object]]:
    """Return the values of an UPDATE by ticks; `tick_parameters` binds them.

    Args:
        table: The sensors or the schedules.
        checkpoint: The columns of their checkpoint.
    """
    return {
        **{key: bindparam(f"after_{key}") for key in checkpoint},
        "last_tick_at": bindparam("finished_at"),
        "last_outcome": bindparam("outcome"),
        "last_error": bindparam("tick_error"),
        "last_good_at": func.coalesce(GOOD_AT, table.c.last_good_at),
    }


def tick_parameters(
    commit: TickCommit | ScheduleCommit, checkpoint: Sequence[str]
) -> dict[str, object]:
    """Return the parameters of `tick_values` for one tick."""
    return {
        **{f"after_{key}": getattr(commit.after, key) for key in checkpoint},
        "finished_at": commit.finished_at,
        "outcome": commit.outcome,
        "tick_error": commit.error,
        "good_at": commit.finished_at if commit.outcome.good else None,
    }
