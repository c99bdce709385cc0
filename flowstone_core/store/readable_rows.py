"""Readable rows: one row that cannot be read is left out and logged, and the others are read.

Rows become unreadable by other programs, by hand, or by a disk. The database accepts them: SQLite
puts any value into any column, and a document is a text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from sqlalchemy import Boolean, Column, Double, Integer, Row, Table

from flowstone_core.errors import StoreError
from flowstone_core.model.json_document import load_document, load_object
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.partition import decode_partition
from flowstone_core.model.safe_text import printable
from flowstone_core.model.tick import SkipReason, TickOutcome
from flowstone_core.store import schema
from flowstone_core.store.column_types import UtcDateTime

AnyRow: TypeAlias = Row[*tuple[object, ...]]
T = TypeVar("T")

logger = logging.getLogger("flowstone.store")

_OBJECTS = {
    schema.events.c.payload,
    schema.materializations.c.metadata,
    schema.schedules.c.declared,
    schema.schedules.c.edits,
}
_DOCUMENTS = {schema.sensors.c.state, schema.ticks.c.skipped_items}
_PARTITIONS = {schema.events.c.partition, schema.materializations.c.partition}
_CHOICES: MappingProxyType[Column[str], type[StrEnum]] = MappingProxyType(
    {
        schema.materializations.c.state: MaterializationState,
        schema.attempts.c.outcome: AttemptOutcome,
        schema.ticks.c.outcome: TickOutcome,
        schema.sensors.c.last_outcome: TickOutcome,
        schema.schedules.c.last_outcome: TickOutcome,
        schema.skips.c.reason: SkipReason,
    }
)
_LIMIT = 1_000
"""Rows that are remembered as logged."""

_logged: set[str] = set()


class UnreadableRowError(StoreError):
    """A row has a value that FlowStone did not write and cannot read."""


def read(rows: Iterable[AnyRow], table: Table, build: Callable[[AnyRow], T]) -> list[T]:
    """Build an object of each row; rows that cannot be read are left out, each logged once."""
    return [item for _, item in pairs(rows, table, build)]


def pairs(
    rows: Iterable[AnyRow], table: Table, build: Callable[[AnyRow], T]
) -> Iterator[tuple[AnyRow, T]]:
    """Yield each readable row with its object; the others are logged once."""
    for row in rows:
        try:
            yield row, read_one(row, table, build)
        except UnreadableRowError as error:
            log_once(error)


def read_one(row: AnyRow, table: Table, build: Callable[[AnyRow], T]) -> T:
    """Build an object of a row.

    Raises:
        UnreadableRowError: If a value in it cannot be read.
    """
    wrong = next(_misfits(row, table), None)
    if wrong is None:
        try:
            return build(row)
        except (ValueError, TypeError, RecursionError):
            wrong = next(faults(row, table), "its values do not fit together")
    raise UnreadableRowError(
        f"unreadable row {name_of(row, table)}: {wrong}",
        hint="flowstone db check lists all such rows",
    )


def log_once(error: UnreadableRowError) -> None:
    """Log a row that is left out; once in a process."""
    if error.message not in _logged and len(_logged) < _LIMIT:
        _logged.add(error.message)
        logger.error("row of the store left out", extra={"error": str(error)})


def name_of(row: AnyRow, table: Table) -> str:
    """Return the name of a row: its table and its primary key."""
    key = ", ".join(str(row._mapping[column.name]) for column in table.primary_key)  # noqa: SLF001
    return f"{printable(key, 100)} of {table.name}"


def faults(row: AnyRow, table: Table) -> Iterator[str]:
    """Yield the faults of a row's values, each with its column; the values are not shown."""
    for name, value in row._mapping.items():  # noqa: SLF001 - SQLAlchemy's public name for it
        column = table.c.get(name)
        if column is None or value is None:
            continue
        wrong = misfit(column, value)
        if wrong is not None:
            yield wrong
        elif column in _OBJECTS and not _parses(load_object, value):
            yield f"{name} is not a JSON object"
        elif column in _DOCUMENTS and not _parses(load_document, value):
            yield f"{name} is not JSON"
        elif column in _PARTITIONS and not _parses(decode_partition, value):
            yield f"{name} is not a partition"
        elif column in _CHOICES and value not in list(_CHOICES[column]):
            yield f"{name} is unknown"


def defaults(row: AnyRow, table: Table, now: datetime) -> dict[str, object]:
    """Return a readable value for each value of a row that cannot be read."""
    stand_ins = {datetime: now, int: 0, float: 0.0, bool: False, str: f"unreadable {row.id}"}
    wrong = {fault.partition(" ")[0] for fault in faults(row, table)}
    columns = [column for column in table.c if column.name in wrong]
    return {
        column.name: None if column.nullable else stand_ins[kind_of(column)] for column in columns
    }


def _misfits(row: AnyRow, table: Table) -> Iterator[str]:
    """Yield the faults that show in the types of a row's values."""
    columns = table.c
    for name, value in row._mapping.items():  # noqa: SLF001 - SQLAlchemy's public name for it
        wrong = misfit(columns[name], value) if name in columns else None
        if wrong is not None:
            yield wrong


def misfit(column: Column[object], value: object) -> str | None:
    """Return the fault of a value whose type is not that of its column; None if it has none."""
    kind = kind_of(column)
    fits = isinstance(value, kind) and not (isinstance(value, datetime) and value.tzinfo is None)
    return None if value is None or fits else f"{column.name} is not {_KINDS[kind]}"


_KINDS: MappingProxyType[type, str] = MappingProxyType(
    {
        datetime: "an instant",
        bool: "a truth value",
        int: "a whole number",
        float: "a number",
        str: "text",
    }
)


def kind_of(column: Column[object]) -> type:
    """Return the type of a column's values in Python."""
    if isinstance(column.type, UtcDateTime):
        return datetime
    if isinstance(column.type, Boolean):
        return bool
    if isinstance(column.type, Double):
        return float
    return int if isinstance(column.type, Integer) else str


def _parses(parse: Callable[[str], object], value: object) -> bool:
    try:
        parse(str(value))
    except (ValueError, RecursionError):
        return False
    return True
