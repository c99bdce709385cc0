"""Checkpoint columns: the values that committed ticks write to the rows of their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from sqlalchemy import Table, func

from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    ScheduleCommit,
    SensorCheckpoint,
    TickCommit,
)
from flowstone_core.store.hot_statements import Row
from flowstone_core.store.row_writes import RowUpdate, Values

C = TypeVar("C", bound=TickCommit | ScheduleCommit)

SENSOR_CHECKPOINT = tuple(field.name for field in fields(SensorCheckpoint))
"""The columns of a sensor's checkpoint."""

SCHEDULE_CHECKPOINT = tuple(field.name for field in fields(ScheduleCheckpoint))
"""The columns of a schedule's checkpoint."""

_LAST = ("last_tick_at", "last_outcome", "last_error", "last_good_at")


def checkpoint_update(
    table: Table,
    checkpoint: Sequence[str],
    others: Sequence[str] = (),
    values: Callable[[Values], Values] = lambda _: {},
) -> RowUpdate:
    """Return the UPDATE of the sensors or the schedules by ticks; see `checkpoint_rows`.

    Args:
        table: The sensors or the schedules.
        checkpoint: The columns of their checkpoint.
        others: Further columns that the rows have.
        values: Returns further values that depend on those of a row.
    """

    def all_values(new: Values) -> Values:
        own = {name: value for name, value in new.items() if name in types}
        good_at = func.coalesce(new["last_good_at"], table.c.last_good_at)
        return {**own, "last_good_at": good_at, **values(new)}

    types = {name: table.c[name].type for name in (*checkpoint, *_LAST, *others)}
    return RowUpdate(table.c.name, types, all_values)


def checkpoint_rows(
    commits: Iterable[C],
    name: Callable[[C], str],
    checkpoint: Sequence[str],
    others: Callable[[C], Row] = lambda _: (),
) -> list[Row]:
    """Return the rows of a `checkpoint_update`: one for each source, after its last tick.

    Args:
        commits: The ticks; of one source, the earlier first.
        name: Returns the name of a tick's sensor or schedule.
        checkpoint: The columns of their checkpoint.
        others: Returns the values of the further columns.
    """
    values: Callable[[object], Row] = attrgetter(*checkpoint)
    good_at: dict[str, datetime] = {}
    rows: dict[str, Row] = {}
    for item in commits:
        own, end = name(item), item.finished_at
        if item.outcome.good:
            good_at[own] = end
        last: Row = (end, item.outcome.value, item.error, good_at.get(own))
        rows[own] = (own, *values(item.after), *last, *others(item))
    return list(rows.values())
