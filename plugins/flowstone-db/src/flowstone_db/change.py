"""`database_change`: fires when what a query returns is another value than before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    Partition,
    PollContext,
    Sensor,
    SensorBroken,
    Triggered,
)
from flowstone_db.config import DatabaseChangeConfig
from flowstone_db.database import Database
from flowstone_db.errors import PartitionError, QueryError
from flowstone_db.partitioning import by_column, checked
from flowstone_db.value import canonical, encode_row

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the state's form."""

VALUE_LIMIT = 64 * 1024
"""Most bytes of JSON of a value: it is stored, and its event has the one before it as well."""

NO_ROW: dict[str, JsonValue] = {"no_row": True}
"""What stands for the value when the query returns no row."""


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
        previous = _previous(state)
        row = self._row()
        value = _value(row)
        if canonical(value) == canonical(previous):
            return NotTriggered(state)
        after = ChangeState(version=VERSION, value=value)
        partition = self._partition(row) if _something(value) or _something(previous) else None
        if partition is None:
            return NotTriggered(after)
        # Without a key of its own, the event's key is made of its payload and of the count of
        # good ticks: a value that comes back is another event, and a replay is the same one.
        return Triggered(Event(partition, payload={"value": value, "previous": previous}), after)

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._database.close()

    def _row(self) -> Mapping[str, object] | None:
        with self._database.reading() as connection:
            result = connection.execution_options(
                stream_results=True, no_parameters=True
            ).exec_driver_sql(self.config.query)
            names = Counter(result.keys())
            rows = result.fetchmany(2)
            result.close()
        name, count = names.most_common(1)[0]
        if count > 1:
            raise QueryError(
                f"the query returns {count} columns named {name!r:.80}",
                hint="give each a name of its own by AS",
            )
        if len(rows) > 1:
            raise QueryError(
                "the query returns more than one row",
                hint="select one: max(...), count(*), or ORDER BY ... LIMIT 1",
            )
        return dict(zip(names, rows[0], strict=True)) if rows else None

    def _partition(self, row: Mapping[str, object] | None) -> Partition | None:
        function = self.config.partition_fn
        if self.config.partition is not None:
            function = by_column(self.config.partition)
        if function is None:
            return self.context.clock.now().astimezone(UTC).date()
        if row is None:
            return None
        try:
            return checked(function)(row)
        except ValueError as error:
            raise PartitionError(
                f"no partition for the new value: {error}",
                hint="nothing is recorded until it has one, or partition_fn returns None for it",
            ) from error


def _previous(state: ChangeState) -> JsonValue:
    try:
        version: object = state["version"]
        if version == VERSION:
            return state["value"]
    except (KeyError, TypeError) as error:
        raise SensorBroken(
            f"the stored state cannot be read ({type(error).__name__}): reset the sensor by "
            "'flowstone sensors reset'; it then fires for the value there is"
        ) from None
    raise SensorBroken(
        f"the stored state has version {version!r:.40}, and this flowstone-db reads version "
        f"{VERSION}: install the flowstone-db that wrote it, or reset the sensor by "
        "'flowstone sensors reset'; it then fires for the value there is"
    )


def _value(row: Mapping[str, object] | None) -> JsonValue:
    if row is None:
        return NO_ROW
    try:
        value = encode_row(row)
    except ValueError as error:
        raise QueryError(f"the query returns what has no form here: {error}") from None
    size = len(canonical(value).encode())
    if size > VALUE_LIMIT:
        raise QueryError(
            f"the value has {size:,} bytes; at most {VALUE_LIMIT:,} are allowed",
            hint="select what tells that it has changed: a count, a time, md5(...)",
        )
    return value


def _something(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return value != NO_ROW and any(part is not None for part in value.values())
    return value is not None
