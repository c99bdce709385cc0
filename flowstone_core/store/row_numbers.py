"""Row numbers: the last one that each table has given, which is never given again."""

from __future__ import annotations

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    column,
    func,
    literal_column,
    select,
    table,
    text,
)

from flowstone_core.store import schema

NUMBERED = tuple(
    each for each in schema.metadata.sorted_tables if each.autoincrement_column is not None
)
"""The tables whose rows the database numbers."""

_SEQUENCES = table("sqlite_sequence", column("name"), column("seq"))


def last_number(connection: Connection, numbered: Table) -> int:
    """Return the last number that was given to a row, be it a deleted one."""
    return max(_counted(connection, numbered), _largest(connection, numbered))


def _counted(connection: Connection, numbered: Table) -> int:
    """Return the number after which the database counts on."""
    if connection.dialect.name == "sqlite":
        query = select(_SEQUENCES.c.seq).where(_SEQUENCES.c.name == numbered.name)
        return connection.scalar(query) or 0
    last: ColumnElement[int] = literal_column(
        "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
    )
    return connection.scalar(select(last).select_from(text(_sequence(connection, numbered)))) or 0


def number_after(connection: Connection, numbered: Table, last: int) -> None:
    """Number the next row after the last one that was given."""
    if last == 0:
        return
    if connection.dialect.name == "sqlite":
        mine = _SEQUENCES.c.name == numbered.name
        connection.execute(_SEQUENCES.delete().where(mine))
        connection.execute(_SEQUENCES.insert().values(name=numbered.name, seq=last))
    else:
        connection.execute(select(func.setval(_sequence(connection, numbered), last)))


def repeating_tables(connection: Connection) -> list[str]:
    """Return the tables that would give a number again: their inserts fail.

    On PostgreSQL a backup of the data alone, or logical replication, leaves the sequences behind;
    SQLite also goes by the largest number in the table.
    """
    if connection.dialect.name == "sqlite":
        return []
    return [
        each.name for each in NUMBERED if _largest(connection, each) > _counted(connection, each)
    ]


def _largest(connection: Connection, numbered: Table) -> int:
    return connection.scalar(select(func.max(numbered.c.id))) or 0


def _sequence(connection: Connection, numbered: Table) -> str:
    return str(connection.scalar(select(func.pg_get_serial_sequence(numbered.name, "id"))))
