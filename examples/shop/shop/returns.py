"""The database in which the shop's counter notes what customers bring back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import date
from pathlib import Path

DATABASE = Path(__file__).resolve().parents[1] / ".run" / "returns.db"

THERE_AT_FIRST = [
    (date(2025, 1, 13), "mug"),
    (date(2025, 1, 13), "tea"),
    (date(2025, 1, 14), "mug"),
]
"""Rows that are there before the first poll."""

COMING_LATER = [(date(2025, 1, 14), "coffee"), (date(2025, 1, 15), "tea")]
"""Noted while FlowStone runs."""


def note(returned: Iterable[tuple[date, str]]) -> None:
    """Add rows to the table of what came back; it is made if it is not there."""
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS returned "
            "(id INTEGER PRIMARY KEY, day TEXT NOT NULL, item TEXT NOT NULL)"
        )
        rows = [(f"{day}", item) for day, item in returned]
        connection.executemany("INSERT INTO returned (day, item) VALUES (?, ?)", rows)


def count(day: date) -> int:
    """Count what came back on a day."""
    with closing(sqlite3.connect(DATABASE)) as connection:
        rows = connection.execute("SELECT count(*) FROM returned WHERE day = ?", [f"{day}"])
        found: int = rows.fetchone()[0]
        return found


def day_of(row: Mapping[str, object]) -> date:
    """Say which partition a row belongs to; `partition_fn` of the sensor."""
    return date.fromisoformat(str(row["day"]))
