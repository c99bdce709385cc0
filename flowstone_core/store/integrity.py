"""Integrity check: reads every page, and verifies FlowStone's invariants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    func,
    not_,
    or_,
    select,
)

from flowstone_core.errors import StoreError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import migration, schema, sqlite_file
from flowstone_core.store.database import Database
from flowstone_core.store.enqueueing import ACTIVE
from flowstone_core.store.postgresql_session import allow_long_statements
from flowstone_core.store.readable_rows import faults, name_of
from flowstone_core.store.row_numbers import repeating_tables

MAX_SHOWN = 20
"""Problems of one kind that are listed; the others are only counted."""

PAGE = 1_000
"""Rows that are read at once."""

_rows = schema.materializations
_attempts = schema.attempts


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """The result of an integrity check.

    Attributes:
        store: The store's URL, with its password masked.
        revision: The revision of the schema.
        journal_mode: ``wal``, unless the file system does not support it; None for PostgreSQL.
        complete: False if the rows were not checked, as with another schema revision.
        problems: The problems found.
    """

    store: str
    revision: str
    journal_mode: str | None
    complete: bool
    problems: tuple[str, ...]


def check(database: Database) -> IntegrityReport:
    """Check a whole store while it is in use; nothing is changed, nor migrated.

    Raises:
        StoreError: If there is no store, or the database cannot be read, or belongs to another
            program.
    """
    revision, journal_mode = _opened(database)
    problems: list[str] = []
    if database.is_sqlite:
        try:
            problems += database.read(_defects)
        except StoreError as error:
            problems.append(str(error))
    complete = revision == migration.HEAD and not problems
    if complete:
        problems += database.read(_violations)
        problems += database.read(_repeated_numbers)
        problems += database.read(_unreadable)
    return IntegrityReport(database.display, revision, journal_mode, complete, tuple(problems))


def _opened(database: Database) -> tuple[str, str | None]:
    """Return the revision and the journal mode of an existing store."""
    if database.is_sqlite and database.file is None:
        raise StoreError("cannot check a store in memory: only its own process sees it")
    if database.file is None:
        revision, mode = database.read(migration.revision), None
    else:
        with database.errors():
            revision = sqlite_file.inspect(database.file)
        mode = None if revision is None else database.read(_journal_mode)
    if revision is None:
        raise StoreError(f"store not found: {database.display}", hint="flowstone db upgrade")
    return revision, mode


def _journal_mode(connection: Connection) -> str:
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())


def _defects(connection: Connection) -> list[str]:
    """Let SQLite check every page and every reference."""
    found = connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_SHOWN})").scalars().all()
    lines = [line for text in found for line in str(text).splitlines()]
    defects = [line for line in lines if line != "ok" and not line.startswith("***")]
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return defects + _capped(
        [
            f"row {number} of {table} refers to a missing row of {parent}"
            for table, number, parent, _ in dangling
        ],
        len(dangling),
    )


def _violations(connection: Connection) -> list[str]:
    """Return the rows that break an invariant."""
    allow_long_statements(connection)
    problems = []
    for condition, text in _rules():
        query: Select[int] = select(_rows.c.id).where(condition).order_by(_rows.c.id)
        numbers = connection.scalars(query.limit(MAX_SHOWN)).all()
        count = len(numbers)
        if count == MAX_SHOWN:
            counted = select(func.count()).select_from(_rows).where(condition)
            count = connection.scalar(counted) or 0
        problems += _capped([f"materialization {number} {text}" for number in numbers], count)
    return problems


def _repeated_numbers(connection: Connection) -> list[str]:
    """Return the tables that would give the number of a row again."""
    return [
        f"{name} numbers its next row as one that it has: no row can be added "
        "(set its sequence to the largest id)"
        for name in repeating_tables(connection)
    ]


def _unreadable(connection: Connection) -> list[str]:
    """Return the rows with a value that FlowStone did not write and cannot read."""
    allow_long_statements(connection)
    problems = []
    for table in schema.metadata.sorted_tables:
        found: list[str] = []
        count = 0
        query = select(table).execution_options(yield_per=PAGE)
        for row in connection.execute(query):
            for fault in faults(row, table):
                count += 1
                if len(found) < MAX_SHOWN:
                    found.append(f"row {name_of(row, table)} is unreadable: {fault}")
        problems += _capped(found, count)
    return problems


def _rules() -> Iterator[tuple[ColumnElement[bool], str]]:
    """Yield each forbidden condition of a materialization, with its message."""
    state, running = _rows.c.state, MaterializationState.RUNNING
    own = and_(_attempts.c.materialization_id == _rows.c.id, _attempts.c.finished_at.is_(None))
    current = _attempts.c.number == _rows.c.attempt
    yield and_(state == running, _rows.c.token.is_(None)), "is running without a token"
    yield (
        and_(state == running, not_(exists().where(own, current))),
        "is running without a running attempt",
    )
    yield (
        exists().where(own, or_(state != running, not_(current))),
        "has an unfinished attempt that it does not run",
    )
    yield (
        state.in_(ACTIVE) == _rows.c.finished_at.is_not(None),
        "has an end time that contradicts its state",
    )
    queued = or_(_rows.c.available_at.is_not(None), state == running)
    waits = or_(_rows.c.waiting_for.is_not(None), _rows.c.after_id.is_not(None))
    yield (
        and_(state.in_(ACTIVE), not_(queued), not_(waits)),
        "has not ended, and is neither due nor waiting",
    )
    ahead = _rows.alias("ahead")
    before_it = exists().where(
        ahead.c.id == _rows.c.after_id, ahead.c.id < _rows.c.id, ahead.c.state.in_(ACTIVE)
    )
    yield (
        and_(state.in_(ACTIVE), _rows.c.after_id.is_not(None), not_(before_it)),
        "waits for a predecessor that has ended or is missing",
    )


def _capped(problems: list[str], count: int) -> list[str]:
    """List the first problems, and count the others."""
    listed = problems[:MAX_SHOWN]
    return [*listed, f"and {count - len(listed):,} more like it"] if count > len(listed) else listed
