"""Row reader: the queries of one poll of `database_rows`, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flowstone_core import PollContext, Skipped
from flowstone_db.config import DatabaseRowsConfig
from flowstone_db.cursor import KeyCheck, RowsProgress, is_nan
from flowstone_db.errors import CursorError
from flowstone_db.grouping import RowGroups
from flowstone_db.recent_keys import (
    COUNTED,
    READ,
    KeysRead,
    OlderRows,
    RecentKeys,
    recent_keys,
    skipped,
)
from flowstone_db.statements import LABEL, Key, RowStatements
from flowstone_db.value import show_value

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

CHUNK = 500
"""Rows per fetch."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reader of the rows after a cursor.

    Attributes:
        connection: The lent connection.
        statements: The statements of the table or query.
        config: The settings.
        context: The context of the sensor.
        check: The check of the keys.
    """

    connection: Connection
    statements: RowStatements
    config: DatabaseRowsConfig
    context: PollContext
    check: KeyCheck

    def newest(self) -> object:
        """Return the greatest value of the key's first column; None for an empty table.

        Raises:
            CursorError: If a row has no key, or its key is NaN.
        """
        self._check_missing()
        found = one(self.connection, self.statements.newest())
        newest = None if found is None else found[0]
        if is_nan(newest):
            (count,) = one(self.connection, self.statements.equal(newest)) or (0,)
            raise CursorError(
                f"NaN in {self.config.keys[0]} of {count:,} rows: NaN sorts after all numbers",
                hint="correct these rows, or select from a query that leaves them out",
            )
        return newest

    def check_cursor(self, cursor: Key | None, newest: object) -> Key | None:
        """Return the cursor as it compares with the newest value.

        Raises:
            CursorError: If their types differ, or cannot be a key, or the rows up to the cursor
                are gone.
        """
        if cursor is not None:
            cursor = self._converted(cursor, newest)
            self.check.check(cursor)
        if newest is not None:
            self.check.check((newest,))
        if cursor is not None:
            self._check_fall(cursor[0], newest)
        return cursor

    def _converted(self, cursor: Key, newest: object) -> Key:
        first = cursor[0]
        backend = self.config.database_url().backend
        instant = isinstance(newest, datetime) and newest.tzinfo is not None
        if instant and backend in {"mysql", "mariadb"} and isinstance(first, datetime):
            # Earlier versions stored a TIMESTAMP without its zone, which was UTC.
            return (first if first.tzinfo else first.replace(tzinfo=UTC), *cursor[1:])
        return cursor

    def last(self, bound: object) -> Key | None:
        """Return the key of the last row up to the bound."""
        last = one(self.connection, self.statements.last(bound))
        self.check.check(last or ())
        return last

    def read(
        self, cursor: Key | None, bound: object, groups: RowGroups, keys: KeysRead
    ) -> Key | None:
        """Add the next rows to the groups and their keys to the others, and return the last key.

        Raises:
            PollTimeoutError: If the deadline of the poll passes.
        """
        cut = one(self.connection, self.statements.nth(self.config.row_limit, cursor, bound))
        self.check.check(cut or ())
        query = self.statements.rows(cursor, bound, cut)
        labels = [f"{LABEL}{number}" for number in range(len(self.config.keys))]
        with self.connection.execute(query, execution_options={"yield_per": CHUNK}) as rows:
            for chunk in rows.mappings().partitions(CHUNK):
                self.context.check_deadline()
                for row in chunk:
                    cursor = tuple(row[label] for label in labels)
                    self.check.check(cursor)
                    groups.add(cursor, dict(row))
                    keys.add(cursor)
        return cursor

    def recent(self, progress: RowsProgress, keys: KeysRead) -> tuple[RowsProgress, list[Skipped]]:
        """Return the progress with the recent keys, and the report of rows that came too late.

        Args:
            progress: The progress, with the cursor after reading.
            keys: The keys read in this poll.
        """
        cursor, known = progress.cursor, progress.recent
        if cursor is None:
            return progress, []
        above = None if known is None else known.above
        count = late_before = 0
        if known is not None:
            count = self._count(cursor, above)
            before = 0 if known.older is None else known.older.rows
            late_before = self._count_older(known) - before
            if not keys.count and count == len(known.hashes) and late_before == 0:
                # As a rule nothing has happened, and numbers are read and not the keys.
                return progress, []
        query = self.statements.behind(cursor, above, READ)
        options = {"stream_results": True}
        found = [tuple(row) for row in self.connection.execute(query, execution_options=options)]
        after = recent_keys(found, above)
        after = replace(after, older=self._older(known, after.above))
        progress = replace(progress, recent=after)
        if known is None:
            return progress, []
        late = keys.late(known, found)
        more = len(late)
        if len(found) == READ:
            more = max(more, count - len(known.hashes) - keys.count)
        return progress, skipped(self.config.keys, late, more + max(0, late_before), above)

    def _older(self, known: RecentKeys | None, above: Key | None) -> OlderRows | None:
        """Return the rows before the recent keys, which begin above a key."""
        if above is None:
            return None
        if known is not None:
            start = known.above if known.older is None else known.older.above
            rows = self._count(above, start)
            if rows <= COUNTED:
                return OlderRows(start, rows)
        return OlderRows(above, 0)

    def _count_older(self, known: RecentKeys) -> int:
        if known.above is None or known.older is None:
            return 0
        return self._count(known.above, known.older.above)

    def _count(self, up_to: Key, above: Key | None) -> int:
        (count,) = one(self.connection, self.statements.count_behind(up_to, above)) or (0,)
        return int(count)

    def _check_missing(self) -> None:
        columns = " or ".join(self.config.keys)
        missing = one(self.connection, self.statements.without_key())
        if not missing or not missing[0]:
            return
        backend = self.config.database_url().backend
        if backend in {"mysql", "mariadb"} and self.config.timestamp_column is not None:
            # To MySQL a zero date in a column that is NOT NULL is NULL as well.
            (zero,) = one(self.connection, self.statements.zero_dates()) or (0,)
            if zero:
                raise CursorError(
                    f"zero date ('0000-00-00') in {self.config.keys[0]} of {zero:,} rows: it is "
                    "before all times, and would never be found",
                    hint="correct these rows, or select from a query that leaves them out, such "
                    f"as WHERE year({self.config.keys[0]}) > 0",
                )
        raise CursorError(
            f"NULL in {columns} of {missing[0]:,} rows: they would never be found",
            hint="fill the column, or select from a query that leaves these rows out or gives "
            "them a value, such as coalesce(changed_at, created_at)",
        )

    def _check_fall(self, read: object, newest: object) -> None:
        if newest is not None and one(self.connection, self.statements.reaching(read)) is not None:
            return
        now = "the table is empty" if newest is None else f"the greatest is {show_value(newest)}"
        message = (
            f"rows up to {self.config.keys[0]} = {show_value(read)} were read, but now {now}: "
            "rows were deleted, or the database was restored"
        )
        if self.config.if_max_falls == "fail":
            raise CursorError(
                message,
                hint="if rows are deleted regularly, set if_max_falls = go_on; after a restore, "
                "reset the sensor, or rows written below that value are not found",
            )
        self.context.logger.info("%s; going on because of if_max_falls", message)


def one(connection: Connection, query: Select[Any]) -> Key | None:
    """Return the first row of a query; None without a row."""
    # With a server-side cursor, which accepts one statement only.
    result = connection.execute(query, execution_options={"stream_results": True})
    row = result.first()
    return None if row is None else tuple(row)
