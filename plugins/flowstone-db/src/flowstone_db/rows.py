"""`database_rows`: fires for rows that are new or changed, by partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from flowstone_core import NotTriggered, Outcome, Partition, PollContext, Sensor, Triggered
from flowstone_db.config import DatabaseRowsConfig
from flowstone_db.cursor import KeyCheck, Progress, RowsState, is_nan, read_state
from flowstone_db.database import Database
from flowstone_db.errors import CursorError
from flowstone_db.grouping import Tally
from flowstone_db.partitioning import by_column, checked
from flowstone_db.statements import LABEL, Key, Source
from flowstone_db.timestamps import date_of, form_of
from flowstone_db.value import decode_value, encode_value
from flowstone_db.watermark import PREPARED, RUNNING, OpenTransactions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

CHUNK = 500
"""Rows that are fetched at once."""


class DatabaseRows(Sensor[DatabaseRowsConfig, RowsState]):
    """Fires for the rows of a table or a query that are new, or changed, since the poll before.

    What is new is told by a column that only grows, by a timestamp, or by both. All new rows of
    one partition are one event; the asset function finds in its payload how many they are, and
    the keys of the first and the last: ``{"rows": ..., "first": {...}, "last": {...}}``.

    By default the partition is the date of the timestamp.
    """

    Config = DatabaseRowsConfig

    def __init__(self, config: DatabaseRowsConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._database = Database(config, self.context.clock.monotonic)
        self._zone = ZoneInfo(config.timezone)
        self._partition_of = _partition_function(config, self._zone)
        self._stamped = config.timestamp_column is not None
        self._source: Source | None = None

    def init(self) -> RowsState:
        """See `Sensor.init`."""
        return Progress().state()

    def poll(self, state: RowsState) -> Outcome[RowsState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If a query fails.
            CursorError: If rows have no key, keys cannot be compared, or rows that were read are
                gone together with all that came after.
            PartitionError: If a new row has no partition.
            SensorBroken: If the state is not one that this version can read.
        """
        progress = read_state(state, self.config.keys)
        source = self._source = self._source or Source(self.config)
        tally = Tally(self.config.keys, self._partition_of)
        check = KeyCheck(self.config.keys, self._stamped)
        check.check(progress.cursor or ())
        with self._database.reading() as connection:
            newest = self._newest(connection, source, progress, check)
            if newest is None:
                progress = replace(progress, started=True)
            else:
                bound, progress = self._bound(connection, newest, progress)
                if bound is not None:
                    cursor = self._read(connection, source, progress, bound, check, tally)
                    progress = replace(progress, cursor=cursor, started=True)
        events = tally.events()
        after = progress.state()
        if after == state:
            after = state
        return Triggered(events, after) if events else NotTriggered(after)

    def connect(self) -> None:
        """See `Sensor.connect`; no row is read.

        Raises:
            DatabaseError: If the database cannot be reached, or a query would fail.
        """
        with self._database.reading() as connection:
            _one(connection, Source(self.config).nothing())
            if self.config.by_snapshot:
                _open_transactions(connection)

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._database.close()

    def _newest(
        self, connection: Connection, source: Source, progress: Progress, check: KeyCheck
    ) -> object:
        """Return the greatest value of the key's first column; None if there are no rows."""
        columns = " or ".join(self.config.keys)
        missing = _one(connection, source.without_key())
        if missing and missing[0]:
            raise CursorError(
                f"{missing[0]:,} rows have NULL in {columns}: they would never be found",
                hint="fill them in, or select from a query that leaves them out or gives them a "
                "value, such as coalesce(changed_at, made_at)",
            )
        found = _one(connection, source.newest())
        newest = None if found is None else found[0]
        if is_nan(newest):
            (count,) = _one(connection, source.equal(newest)) or (0,)
            raise CursorError(
                f"{count:,} rows have NaN in {self.config.keys[0]}: nothing comes after it",
                hint="correct them, or select from a query that leaves them out",
            )
        if newest is not None:
            check.check((newest,))
        if progress.cursor is not None:
            self._check_fall(connection, source, progress.cursor[0], newest)
        return newest

    def _check_fall(
        self, connection: Connection, source: Source, read: object, newest: object
    ) -> None:
        if newest is not None and _one(connection, source.reaching(read)) is not None:
            return
        now = "there are no rows" if newest is None else f"the greatest is {newest!r:.80}"
        message = (
            f"rows up to {self.config.keys[0]} = {read!r:.80} have been read, and now {now}: "
            "rows were deleted, or the database was restored"
        )
        if self.config.if_max_falls == "fail":
            raise CursorError(
                message,
                hint="if rows are deleted as a matter of course, set if_max_falls = go_on; after "
                "a restore, reset the sensor, or what is written up to there is not found",
            )
        self.context.logger.info("%s; going on, as if_max_falls says", message)

    def _bound(
        self, connection: Connection, newest: object, progress: Progress
    ) -> tuple[object, Progress]:
        """Return up to where rows may be read, or None if nowhere yet."""
        bound = newest
        if self._stamped:
            moment = self._database.now(connection, self.context.clock.now) - self.config.lag
            bound = form_of(newest).write(moment, self._zone)
        if not self.config.by_snapshot:
            return bound, progress
        transactions = _open_transactions(connection)
        settled, fence = transactions.settle(encode_value(bound), progress.fence)
        if settled is not None:
            progress = replace(progress, settled=settled)
        return decode_value(progress.settled), replace(progress, fence=fence)

    def _read(
        self,
        connection: Connection,
        source: Source,
        progress: Progress,
        bound: object,
        check: KeyCheck,
        tally: Tally,
    ) -> Key | None:
        """Read the next rows into the tally, and return the key of the last."""
        if self.config.start == "new" and not progress.started:
            last = _one(connection, source.last(bound))
            check.check(last or ())
            return last
        cursor = progress.cursor
        cut = _one(connection, source.nth(self.config.row_limit, cursor, bound))
        check.check(cut or ())
        query = source.rows(cursor, bound, cut)
        labels = [f"{LABEL}{number}" for number in range(len(self.config.keys))]
        with connection.execute(query, execution_options={"yield_per": CHUNK}) as rows:
            for row in rows.mappings():
                cursor = tuple(row[label] for label in labels)
                check.check(cursor)
                tally.add(cursor, dict(row))
        return cursor


def _open_transactions(connection: Connection) -> OpenTransactions:
    # In this order: see `PREPARED`.
    running, prepared = (
        frozenset(connection.exec_driver_sql(query).scalars()) for query in (RUNNING, PREPARED)
    )
    return OpenTransactions(running, prepared)


def _one(connection: Connection, query: Select[Any]) -> Key | None:
    # By a cursor of the server, which takes one statement and no more.
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
