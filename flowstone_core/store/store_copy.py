"""Store copy: copies a store to an empty one in another database, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Table, func, literal_column, select

from flowstone_core.errors import ConflictError, StoreError
from flowstone_core.store import migration, schema
from flowstone_core.store.database import Database
from flowstone_core.store.postgresql_session import allow_long_transactions
from flowstone_core.store.row_numbers import NUMBERED, last_number, number_after
from flowstone_core.store.runners import living
from flowstone_core.store.statements import database_time
from flowstone_core.store.table_copy import TableCopy

_PREFIX = "flowstone_"


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """Progress of a copy.

    Attributes:
        what: The rows that are copied at the moment, such as ``events``.
        done: How many of them were read.
        total: How many of them there are.
    """

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """A finished copy.

    Attributes:
        source: URL of the store that was read, with its password masked.
        target: URL of the store that was written, with its password masked.
        revision: The schema revision of both.
        rows: The number of rows of each table, by its name without prefix.
    """

    source: str
    target: str
    revision: str
    rows: Mapping[str, int]


def copy(
    source: Database, target: Database, now: datetime, watch: Callable[[CopyProgress], object]
) -> StoreCopy:
    """Copy a store in one transaction, in which what was written is read again and compared.

    Both stores are locked meanwhile: for others the target stays empty, and the source the same.

    Args:
        source: The store that is read.
        target: The store that is written. An SQLite file that does not exist is created.
        now: The current time, by which a runner's lease lasts.
        watch: Called with the progress.

    Raises:
        ConflictError: If a runner lives on one of the stores, the target is not empty, or both
            are the same.
        StoreError: If a store is missing, in memory, or has another schema revision; if a row
            cannot be kept by the target. Nothing was copied.
    """
    refuse(source, target)
    migration.prepare(target, migrate=None)
    with source.transaction() as held, target.transaction() as made:
        with source.errors():
            _lock(held, "SHARE")
            _refuse_runners(held, source, now)
        _lock(made, "EXCLUSIVE")
        _refuse_runners(made, target, now)
        _refuse_rows(made, target)
        rows, problems = _copy_tables(source, held, made, watch)
        if problems:
            raise StoreError(
                f"cannot copy the store {source.display}: {'; '.join(problems)}",
                hint="repair these rows, or delete them: nothing was copied",
            )
        with source.errors():
            last = {each: last_number(held, each) for each in NUMBERED}
        for each, number in last.items():
            number_after(made, each, number)
        if not target.is_sqlite:
            made.exec_driver_sql(f"ANALYZE {', '.join(schema.metadata.tables)}")
    return StoreCopy(source.display, target.display, migration.HEAD, rows)


def refuse(source: Database, target: Database) -> None:
    """Refuse a source that cannot be copied to a target; nothing is written.

    Raises:
        ConflictError: If both are the same.
        StoreError: If one is in memory; if the source is missing, or has another schema revision.
    """
    for database in (source, target):
        if database.is_sqlite and database.file is None:
            raise StoreError("cannot copy a store in memory: only its own process sees it")
    same = source.url == target.url
    if source.file is not None:
        if not source.file.exists():
            raise StoreError(f"store not found: {source.display}")
        same = (
            target.file is not None and target.file.exists() and target.file.samefile(source.file)
        )
    if same:
        raise ConflictError(
            f"cannot copy the store {source.display} to itself", hint="name another target"
        )
    migration.prepare(source, migrate=False)


def _lock(connection: Connection, mode: str) -> None:
    """Keep others from writing until the end of the transaction, and lift its time limits.

    SQLite: the transaction holds the lock already.
    """
    if connection.dialect.name == "postgresql":
        tables = ", ".join(schema.metadata.tables)
        connection.exec_driver_sql(f"LOCK TABLE {tables} IN {mode} MODE")
        allow_long_transactions(connection)


def _refuse_runners(connection: Connection, database: Database, now: datetime) -> None:
    # Whichever clock is ahead, a living runner is one.
    now = min(now, database_time(connection) or now)
    for runner in living(connection, now):
        left = (runner.lease_until - now).total_seconds()
        raise ConflictError(
            f"cannot copy: a runner uses the store {database.display}: process {runner.pid} on "
            f"{runner.host}",
            hint=f"stop it; if it was killed, wait {left:.0f}s until its lease has ended",
        )


def _refuse_rows(connection: Connection, database: Database) -> None:
    for each in schema.metadata.sorted_tables:
        if connection.execute(select(literal_column("1")).select_from(each).limit(1)).first():
            raise ConflictError(
                f"cannot copy to the store {database.display}: not empty, it has {_name(each)}",
                hint="name an empty one",
            )


def _copy_tables(
    source: Database, held: Connection, made: Connection, watch: Callable[[CopyProgress], object]
) -> tuple[dict[str, int], list[str]]:
    rows: dict[str, int] = {}
    problems: list[str] = []
    for each in schema.metadata.sorted_tables:
        what = _name(each)
        with source.errors():
            total = held.scalar(select(func.count()).select_from(each)) or 0
        copying = TableCopy(each, source, held, made)
        rows[what], found = copying.run(partial(_tell, watch, what, total), dry=bool(problems))
        problems += found
        if not found and rows[what] != total:
            raise StoreError(f"copy discarded: {each.name} has {total:,} rows")
    return rows, problems


def _tell(watch: Callable[[CopyProgress], object], what: str, total: int, done: int) -> None:
    watch(CopyProgress(what, done, total))


def _name(each: Table) -> str:
    return each.name.removeprefix(_PREFIX)
