"""Sensor `database_rows`: fires for new or changed rows, by partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from flowstone_core import (
    NotTriggered,
    Outcome,
    Partition,
    PollContext,
    Sensor,
    Skipped,
    Triggered,
)
from flowstone_db.config import DatabaseRowsConfig
from flowstone_db.cursor import KeyCheck, RowsProgress, RowsState, decode_rows_state
from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.doubled_hour import DoubledHour, doubled_hour
from flowstone_db.grouping import RowGroups
from flowstone_db.partitioning import by_column, checked
from flowstone_db.recent_keys import KeysRead, RecentKeys
from flowstone_db.row_reader import RowReader, one
from flowstone_db.statements import LABEL, Key, RowStatements
from flowstone_db.time_column import warnings
from flowstone_db.timestamps import (
    TimestampFormat,
    date_of,
    floor,
    instant_of,
    resolution,
    timestamp_format,
    wall_time,
)
from flowstone_db.value import decode_value, encode_value
from flowstone_db.watermark import PREPARED, RUNNING, OpenTransactions

if TYPE_CHECKING:
    from sqlalchemy import Connection


class DatabaseRows(Sensor[DatabaseRowsConfig, RowsState]):
    """Sensor that fires for rows of a table or query that are new or changed since the last poll.

    New rows are recognized by a column that only grows, by a timestamp, or by both. All new rows
    of one partition are one event; the asset function finds in its payload the number of rows, and
    the keys of the first and the last: ``{"rows": ..., "first": {...}, "last": {...}}``.

    By default the partition is the date of the timestamp.
    """

    Config = DatabaseRowsConfig
    asset_required = True

    def __init__(self, config: DatabaseRowsConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._database = ReadOnlyDatabase(config, self.context)
        self._zone = ZoneInfo(config.timezone)
        self._partition_of = _partition_function(config, self._zone)
        self._by_timestamp = config.timestamp_column is not None
        self._statements: RowStatements | None = None

    def init(self) -> RowsState:
        """See `Sensor.init`."""
        return RowsProgress().state()

    def poll(self, state: RowsState) -> Outcome[RowsState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If a query fails.
            CursorError: If rows have no key, keys cannot be compared, or the last row read is gone
                together with all later ones.
            PartitionError: If a new row has no partition, with ``unreadable_rows = fail``.
            SensorBroken: If the state has another version, or is damaged.
        """
        progress = decode_rows_state(state, self.config.keys)
        groups = RowGroups(self.config.keys, self._partition_of)
        skipped: list[Skipped] = []
        with self._database.read_transaction() as connection:
            reader = self._reader(connection)
            newest = reader.newest()
            progress = replace(progress, cursor=reader.check_cursor(progress.cursor, newest))
            if newest is not None:
                bound, progress = self._bound(connection, newest, progress)
                if bound is not None:
                    progress, skipped = self._read(reader, progress, bound, groups)
            else:
                progress = replace(progress, started=True)
        if self.config.unreadable_rows == "fail":
            groups.check()
        events, skipped = groups.events(), [*skipped, *groups.skipped()]
        after = progress.state()
        if after == state:
            after = state
        if events:
            return Triggered(events, after, skipped=skipped)
        return NotTriggered(after, skipped=skipped)

    def connect(self) -> None:
        """See `Sensor.connect`; reads the greatest key alone, and warns of unfit settings.

        Raises:
            DatabaseError: If the database cannot be reached, or a query would fail.
            CursorError: If the column of the key cannot order rows.
        """
        with self._database.read_transaction() as connection:
            reader = self._reader(connection)
            one(connection, reader.statements.nothing())
            if self.config.by_snapshot:
                _open_transactions(connection)
            newest = reader.newest()
            reader.check_cursor(None, newest)
            if self._by_timestamp:
                now = self._database.now(connection, self.context.clock.now)
                told = warnings(connection, reader.statements, self.config, newest, now)
                for warning in told:
                    self.context.logger.warning("%s", warning)

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._database.close()

    def _reader(self, connection: Connection) -> RowReader:
        statements = self._statements = self._statements or RowStatements(self.config)
        check = KeyCheck(self.config.keys, self._by_timestamp)
        return RowReader(connection, statements, self.config, self.context, check)

    def _bound(
        self, connection: Connection, newest: object, progress: RowsProgress
    ) -> tuple[_Bound | None, RowsProgress]:
        """Return the bound up to which rows may be read, or None without one yet."""
        bound = newest
        if self._by_timestamp:
            bound = self._database.now(connection, self.context.clock.now) - self.config.lag
        if self.config.by_snapshot:
            transactions = _open_transactions(connection)
            settled, watermark = transactions.settle(encode_value(bound), progress.watermark)
            if settled is not None:
                progress = replace(progress, settled=settled)
            progress = replace(progress, watermark=watermark)
            bound = decode_value(progress.settled)
        if bound is None or not self._by_timestamp:
            return None if bound is None else _Bound(bound), progress
        # Rows of a second that has not ended are left: more of them may come with the same time.
        moment = floor(instant_of(bound, self._zone), resolution(newest))
        form = timestamp_format(newest)
        local = None if form.has_zone else form
        return _Bound(form.write(moment, self._zone), moment, local), progress

    def _read(
        self, reader: RowReader, progress: RowsProgress, bound: _Bound, groups: RowGroups
    ) -> tuple[RowsProgress, list[Skipped]]:
        """Add the next rows to the groups; return the progress and the rows that came too late."""
        keys = KeysRead()
        if self.config.start == "new" and not progress.started:
            progress = replace(progress, cursor=reader.last(bound.value))
        else:
            if progress.cursor is not None and progress.first_pass:
                turned = bound.turned_back(progress.cursor, self._zone)
                if turned is not None:
                    recent = RecentKeys(above=turned)
                    progress = replace(progress, cursor=turned, recent=recent)
            elif progress.cursor is None:
                progress = replace(progress, recent=RecentKeys())
            cursor = reader.read(progress.cursor, bound.value, groups, keys)
            progress = replace(progress, cursor=cursor)
        first_pass = bound.is_first_pass(progress.cursor, self._zone)
        progress = replace(progress, first_pass=first_pass, started=True)
        return reader.recent(progress, keys)


@dataclass(frozen=True, slots=True)
class _Bound:
    """Bound up to which rows are read: a value of the key's first column.

    Attributes:
        value: The bound, in the format of the column.
        moment: Its instant, for a timestamp.
        local: The format of timestamps without a zone.
    """

    value: object
    moment: datetime | None = None
    local: TimestampFormat | None = None

    def is_first_pass(self, cursor: Key | None, zone: ZoneInfo) -> bool:
        """Return True for a cursor whose time will come once more."""
        hour = self._doubled_hour(cursor, zone)
        return hour is not None and self.moment is not None and self.moment < hour.second_pass

    def turned_back(self, cursor: Key, zone: ZoneInfo) -> Key | None:
        """Return the cursor before its doubled hour, whose second pass has begun; or None."""
        hour = self._doubled_hour(cursor, zone)
        if hour is None or self.local is None or self.is_first_pass(cursor, zone):
            return None
        return (self.local.write_wall(hour.start - timedelta(microseconds=1)), *cursor[1:])

    def _doubled_hour(self, cursor: Key | None, zone: ZoneInfo) -> DoubledHour | None:
        if cursor is None or self.local is None:
            return None
        return doubled_hour(wall_time(cursor[0]), zone)


def _open_transactions(connection: Connection) -> OpenTransactions:
    # In this order: see `PREPARED`.
    running, prepared = (
        frozenset(connection.exec_driver_sql(query).scalars()) for query in (RUNNING, PREPARED)
    )
    return OpenTransactions(running, prepared)


def _partition_function(
    config: DatabaseRowsConfig, zone: ZoneInfo
) -> Callable[[Mapping[str, Any]], Partition | None]:
    if config.partition_column is not None:
        return checked(by_column(config.partition_column))
    if config.partition_fn is None:
        return lambda row: date_of(row[f"{LABEL}0"], zone)
    function = config.partition_fn

    def own(row: Mapping[str, Any]) -> object:
        return function({name: row[name] for name in row if not name.startswith(LABEL)})

    return checked(cast("Callable[[Mapping[str, Any]], object]", own))
