"""`database_change`: fires when what a query returns is another value than before."""

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
from flowstone_db.database import Database
from flowstone_db.errors import PartitionError
from flowstone_db.partitioning import by_column, checked
from flowstone_db.query import NO_ROW, Question, differ, is_something, value_of
from flowstone_db.state import read_stored

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the state's form."""


class ChangeState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        value: What the query returned last.
    """

    version: int
    value: JsonValue


class DatabaseChange(Sensor[DatabaseChangeConfig, ChangeState]):
    """Fires when a query returns another value than at the poll before.

    The query returns one row; all of its columns are the value. The asset function finds it in
    the payload: ``{"value": ..., "previous": ...}``. A value that comes back later is a change
    like any other. NULL and no row are values too, but a change from one of them to the other,
    and finding one of them at the first poll, fires nothing.

    By default the partition is the date of the poll, in UTC.
    """

    Config = DatabaseChangeConfig

    def __init__(self, config: DatabaseChangeConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._database = Database(config, self.context.clock.monotonic)
        self._question = Question(self._database, config.query)
        self._partition_of = config.partition_fn
        if config.partition is not None:
            self._partition_of = by_column(config.partition)

    def init(self) -> ChangeState:
        """See `Sensor.init`."""
        return ChangeState(version=VERSION, value=NO_ROW)

    def poll(self, state: ChangeState) -> Outcome[ChangeState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If the query fails, or returns what has no form here.
            PartitionError: If the new value has no partition.
            SensorBroken: If the state is not one that this version can read.
        """
        previous: JsonValue = read_stored(state, VERSION, itemgetter("value"), "the value there is")
        row = self._question.ask()
        value = value_of(row)
        if not differ(value, previous):
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
        self._question.explain()

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
    """Return the event of a value that is not the one before; None if it fires nothing.

    Without a key of its own, the event's key is made of its payload and of the count of good
    ticks: a value that comes back is another event, and a replay is the same one.

    Args:
        row: What the value was read from.
        partition_of: From the row to its partition; None for the day.
        today: The day of the poll.

    Raises:
        PartitionError: If the value has no partition.
    """
    if not (is_something(value) or is_something(previous)):
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
                hint="nothing is recorded until it has one, or partition_fn returns None for it",
            ) from error
    if partition is None:
        return None
    return Event(partition, payload={"value": value, "previous": previous})
