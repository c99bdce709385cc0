"""Hot statements and row writes: the driver's errors are told as those of SQLAlchemy are."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.store import schema, sql_engines
from flowstone_core.store.database import Database
from flowstone_core.store.hot_statements import HotStatement
from flowstone_core.store.row_writes import NumberedRowInsert, RowInsert, RowUpdate
from flowstone_core.store.store_url import parse_url

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
TICKS = schema.ticks
VALUES = {
    "source": "my-source",
    "outcome": "failed",
    "started_at": NOW,
    "finished_at": NOW,
    "events": 0,
    "duplicates": 0,
    "error": "x" * 100_000,
}
COLUMNS = [TICKS.c[name] for name in VALUES]
PLAIN = insert(TICKS).values(id=7, **VALUES)
RETURNING = HotStatement(PLAIN.returning(TICKS.c.id))
ROWS = RowInsert(TICKS.c.id, *COLUMNS)
NUMBERED = NumberedRowInsert(*COLUMNS)
UPDATE = RowUpdate(
    TICKS.c.source,
    {"number": TICKS.c.id.type, "error": TICKS.c.error.type},
    lambda row: {"id": row["number"], "error": row["error"]},
)

WAYS = {
    "sqlalchemy": lambda connection: connection.execute(PLAIN),
    "statement": RETURNING,
    "rows": lambda connection: ROWS(connection, [(7, *VALUES.values())]),
    "numbered": lambda connection: NUMBERED(connection, [tuple(VALUES.values())]),
    "update": lambda connection: UPDATE(connection, [("other", 7, VALUES["error"])]),
}
"""Ways to write a tick with the number 7; the first one is the measure of the others."""


@contextmanager
def locked(path, _):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(_, database):
    database.read(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
    yield


@contextmanager
def damaged(path, database):
    database.close()
    with closing(sqlite3.connect(path)) as other:
        root = "SELECT rootpage FROM sqlite_schema WHERE name = 'flowstone_ticks'"
        ((page,),) = other.execute(root).fetchall()
        ((size,),) = other.execute("PRAGMA page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    yield


@contextmanager
def taken(_, database):
    values = {**VALUES, "id": 7, "error": None}
    database.write(lambda connection: connection.execute(insert(TICKS).values(values)))
    yield


FAULTS = {
    "locked": (locked, StoreUnavailableError, "database is locked.*another process"),
    "full": (full, StoreUnavailableError, "disk is full.*free some space"),
    "damaged": (damaged, StoreLostError, "malformed.*restore a backup"),
    "integrity": (taken, StoreError, "UNIQUE constraint failed"),
}


CASES = [(fault, way) for fault in FAULTS for way in WAYS if way != "sqlalchemy"]
CASES.remove(("integrity", "numbered"))  # it gives no number twice


@pytest.mark.parametrize(("fault", "way"), CASES)
def test_errors_of_the_driver_are_told_as_those_of_sqlalchemy(
    tmp_path, migrated_file, monkeypatch, fault, way
):
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 1)
    path = tmp_path / "flowstone.db"
    path.write_bytes(migrated_file.read_bytes())
    bring_about, kind, message = FAULTS[fault]
    found = []
    with closing(Database(parse_url(f"sqlite:///{path}"))) as database:
        other = {**VALUES, "source": "other", "id": 3, "error": None}
        database.write(lambda connection: connection.execute(insert(TICKS).values(other)))
        with bring_about(path, database):
            for each in ("sqlalchemy", way):
                with pytest.raises(StoreError, match=message) as caught:
                    database.read(WAYS[each])  # it waits for no lock before its statement
                found.append((type(caught.value), str(caught.value), caught.value.retryable))
    assert found[0] == found[1]
    assert found[0][0] is kind
    assert "my-source" not in found[0][1]
