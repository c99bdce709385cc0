"""Concurrency of the database sensors: inserts while threads run, pause, reset and replace them."""

from __future__ import annotations

import sqlite3
from typing import Any

from flowstone_db import DatabaseChange, DatabaseRows

from flowstone_core import Pipeline
from flowstone_core.testing import ConcurrencyHarness

TABLE = "CREATE TABLE sale (id INTEGER, at TIMESTAMP, region VARCHAR(40))"


def test_threads_lose_or_double_no_row(postgresql_database: Any) -> None:
    postgresql_database.execute(TABLE)

    def declare(pipeline: Pipeline) -> None:
        pipeline.sensor(
            "sales",
            DatabaseRows,
            asset="made",
            url=postgresql_database.url,
            table="sale",
            mode="incrementing",
            id_column="id",
            partition_column="region",
            row_limit=2,
        )

    def write(number: int) -> str:
        postgresql_database.execute(
            "INSERT INTO sale VALUES (%s, now(), %s)", number, f"region-{number:03}"
        )
        return f"region-{number:03}"

    report = ConcurrencyHarness(declare, change=write, operations=20).run()
    report.assert_sound()
    assert report.changes


def test_threads_find_last_value(sqlite_file: Any) -> None:
    sqlite_file.execute(TABLE)
    written: list[str] = []

    def declare(pipeline: Pipeline) -> None:
        pipeline.sensor(
            "newest",
            DatabaseChange,
            asset="made",
            url=sqlite_file.url,
            query="SELECT max(region) AS region FROM sale",
        )

    def write(number: int) -> None:
        written.append(f"region-{number:03}")
        with sqlite3.connect(sqlite_file.path) as connection:
            connection.execute("INSERT INTO sale VALUES (?, NULL, ?)", (number, written[-1]))
        connection.close()

    harness = ConcurrencyHarness(
        declare, change=write, expected=lambda: written[-1:], operations=20
    )
    report = harness.run()
    report.assert_sound()
    assert report.changes
