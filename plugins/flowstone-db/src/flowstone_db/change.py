"""Sensor `database_change`: fires when the value of a query changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date
from operator import itemgetter
from typing import TYPE_CHECKING, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    Partition,
    PollContext,
    Sensor,
    Triggered,
)
from flowstone_db.config import DatabaseChangeConfig, RowFunction
from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.errors import PartitionError
from flowstone_db.partitioning import by_column, checked
from flowstone_db.query import NO_ROW, OneRowQuery, differs, has_value, value_of
from flowstone_db.state import decode_state

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the stored state."""


class ChangeState(TypedDict):
    """Stored state of the sensor.

    Attributes:
        version: The version of the state.
        value: The last value of the query.
    """

    version: int
    value: JsonValue


class DatabaseChange(Sensor[DatabaseChangeConfig, ChangeState]):
    """Sensor that fires when a query returns another value than at the previous poll.

    The query returns one row; all of its columns are the value. The asset function finds it in
    the payload: ``{"value": ..., "previous": ...}``. A value that comes back later is a change
    like any other. NULL and no row are values too, but a change from one of them to the other,
    and finding one of them at the first poll, fires nothing.

    By default the partition is the date of the poll, in UTC.
    """

    Config = DatabaseChangeConfig
    asset_required = True

    def __init__(self, config: DatabaseChangeConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._database = ReadOnlyDatabase(config, self.context)
        self._query = OneRowQuery(self._database, config.query)
        self._partition_of = config.partition_fn
        if config.partition is not None:
            self._partition_of = by_column(config.partition)

    def init(self) -> ChangeState:
        """See `Sensor.init`."""
        return ChangeState(version=VERSION, value=NO_ROW)

    def poll(self, state: ChangeState) -> Outcome[ChangeState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If the query fails, or returns an unsupported type.
            PartitionError: If the new value has no partition.
            SensorBroken: If the state has another version, or is damaged.
        """
        previous: JsonValue = decode_state(state, VERSION, itemgetter("value"), "the present value")
        row = self._query.fetch()
        value = value_of(row)
        if not differs(value, previous):
            return NotTriggered(state)
        after = ChangeState(version=VERSION, value=value)
        today = self.context.clock.now().astimezone(UTC).date()
        event = change_event(row, value, previous, self._partition_of, today)
        return NotTriggered(after) if event is None else Triggered(event, after)

    def connect(self) -> None:
        """See `Sensor.connect`; the query is not run.

        Raises:
            DatabaseError: If the database cannot be reached, or the query would fail.
        """
        self._query.check()

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._database.close()


def change_event(
    row: Mapping[str, object] | None,
    value: JsonValue,
    previous: JsonValue,
    partition_of: RowFunction | None,
    today: date,
) -> Event | None:
    """Return the event of a changed value; None if the change fires nothing.

    The event has no explicit key, so its key is made of its payload and the count of successful
    ticks: a value that comes back is another event, and a replay is the same one.

    Args:
        row: The row of the value.
        partition_of: Maps the row to its partition; None for the day.
        today: The day of the poll.

    Raises:
        PartitionError: If the value has no partition.
    """
    if not (has_value(value) or has_value(previous)):
        return None
    partition: Partition | None = today
    if partition_of is not None:
        if row is None:
            return None
        try:
            partition = checked(partition_of)(row)
        except ValueError as error:
            raise PartitionError(
                f"no partition for the new value: {error}",
                hint="nothing is recorded until the value has a partition, or partition_fn returns "
                "None for it",
            ) from error
    if partition is None:
        return None
    return Event(partition, payload={"value": value, "previous": previous})
