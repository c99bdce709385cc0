"""Sensor `database_rows`: fires for new or changed rows, by partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from flowstone_core import NotTriggered, Outcome, Partition, PollContext, Sensor, Triggered
from flowstone_db.config import DatabaseRowsConfig
from flowstone_db.cursor import KeyCheck, RowsProgress, RowsState, decode_rows_state, is_nan
from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.errors import CursorError
from flowstone_db.grouping import RowGroups
from flowstone_db.partitioning import by_column, checked
from flowstone_db.statements import LABEL, Key, RowStatements
from flowstone_db.timestamps import date_of, timestamp_format
from flowstone_db.value import decode_value, encode_value
from flowstone_db.watermark import PREPARED, RUNNING, OpenTransactions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

CHUNK = 500
"""Rows per fetch."""


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
        self._database = ReadOnlyDatabase(config, self.context.clock.monotonic)
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
            PartitionError: If a new row has no partition.
            SensorBroken: If the state has another version, or is damaged.
        """
        progress = decode_rows_state(state, self.config.keys)
        statements = self._statements = self._statements or RowStatements(self.config)
        groups = RowGroups(self.config.keys, self._partition_of)
        check = KeyCheck(self.config.keys, self._by_timestamp)
        check.check(progress.cursor or ())
        with self._database.read_transaction() as connection:
            newest = self._newest(connection, statements, progress, check)
            if newest is None:
                progress = replace(progress, started=True)
            else:
                bound, progress = self._bound(connection, newest, progress)
                if bound is not None:
                    cursor = self._read(connection, statements, progress, bound, check, groups)
                    progress = replace(progress, cursor=cursor, started=True)
        events = groups.events()
        after = progress.state()
        if after == state:
            after = state
        return Triggered(events, after) if events else NotTriggered(after)

    def connect(self) -> None:
        """See `Sensor.connect`; no row is read.

        Raises:
            DatabaseError: If the database cannot be reached, or a query would fail.
        """
        with self._database.read_transaction() as connection:
            _one(connection, RowStatements(self.config).nothing())
            if self.config.by_snapshot:
                _open_transactions(connection)

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._database.close()

    def _newest(
        self,
        connection: Connection,
        statements: RowStatements,
        progress: RowsProgress,
        check: KeyCheck,
    ) -> object:
        """Return the greatest value of the key's first column; None for an empty table."""
        columns = " or ".join(self.config.keys)
        missing = _one(connection, statements.without_key())
        if missing and missing[0]:
            raise CursorError(
                f"NULL in {columns} of {missing[0]:,} rows: they would never be found",
                hint="fill the column, or select from a query that leaves these rows out or gives "
                "them a value, such as coalesce(changed_at, created_at)",
            )
        found = _one(connection, statements.newest())
        newest = None if found is None else found[0]
        if is_nan(newest):
            (count,) = _one(connection, statements.equal(newest)) or (0,)
            raise CursorError(
                f"NaN in {self.config.keys[0]} of {count:,} rows: NaN sorts after all numbers",
                hint="correct these rows, or select from a query that leaves them out",
            )
        if newest is not None:
            check.check((newest,))
        if progress.cursor is not None:
            self._check_fall(connection, statements, progress.cursor[0], newest)
        return newest

    def _check_fall(
        self, connection: Connection, statements: RowStatements, read: object, newest: object
    ) -> None:
        if newest is not None and _one(connection, statements.reaching(read)) is not None:
            return
        now = "the table is empty" if newest is None else f"the greatest is {newest!r:.80}"
        message = (
            f"rows up to {self.config.keys[0]} = {read!r:.80} were read, but now {now}: "
            "rows were deleted, or the database was restored"
        )
        if self.config.if_max_falls == "fail":
            raise CursorError(
                message,
                hint="if rows are deleted regularly, set if_max_falls = go_on; after a restore, "
                "reset the sensor, or rows written below that value are not found",
            )
        self.context.logger.info("%s; going on because of if_max_falls", message)

    def _bound(
        self, connection: Connection, newest: object, progress: RowsProgress
    ) -> tuple[object, RowsProgress]:
        """Return the bound up to which rows may be read, or None without one yet."""
        bound = newest
        if self._by_timestamp:
            moment = self._database.now(connection, self.context.clock.now) - self.config.lag
            bound = timestamp_format(newest).write(moment, self._zone)
        if not self.config.by_snapshot:
            return bound, progress
        transactions = _open_transactions(connection)
        settled, watermark = transactions.settle(encode_value(bound), progress.watermark)
        if settled is not None:
            progress = replace(progress, settled=settled)
        return decode_value(progress.settled), replace(progress, watermark=watermark)

    def _read(
        self,
        connection: Connection,
        statements: RowStatements,
        progress: RowsProgress,
        bound: object,
        check: KeyCheck,
        groups: RowGroups,
    ) -> Key | None:
        """Add the next rows to the groups, and return the key of the last."""
        if self.config.start == "new" and not progress.started:
            last = _one(connection, statements.last(bound))
            check.check(last or ())
            return last
        cursor = progress.cursor
        cut = _one(connection, statements.nth(self.config.row_limit, cursor, bound))
        check.check(cut or ())
        query = statements.rows(cursor, bound, cut)
        labels = [f"{LABEL}{number}" for number in range(len(self.config.keys))]
        with connection.execute(query, execution_options={"yield_per": CHUNK}) as rows:
            for row in rows.mappings():
                cursor = tuple(row[label] for label in labels)
                check.check(cursor)
                groups.add(cursor, dict(row))
        return cursor


def _open_transactions(connection: Connection) -> OpenTransactions:
    # In this order: see `PREPARED`.
    running, prepared = (
        frozenset(connection.exec_driver_sql(query).scalars()) for query in (RUNNING, PREPARED)
    )
    return OpenTransactions(running, prepared)


def _one(connection: Connection, query: Select[Any]) -> Key | None:
    # With a server-side cursor, which accepts one statement only.
    result = connection.execute(query, execution_options={"stream_results": True})
    row = result.first()
    return None if row is None else tuple(row)


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
