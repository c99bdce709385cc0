"""Dates and datetimes that a database holds as texts, and the partitions they name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from flowstone_db import DatabaseChange, DatabaseRows
from flowstone_db.errors import PartitionError
from flowstone_db.partitioning import as_partition, from_text

from flowstone_core.model.partition import parse_partition

DATES = [
    ("2025-01-15", date(2025, 1, 15)),
    ("2025-01-15 02:00:00", datetime(2025, 1, 15, 2)),  # noqa: DTZ001
    ("2025-01-15T02:00:00Z", datetime(2025, 1, 15, 2, tzinfo=UTC)),
    ("2025-01-15T02:00:00.0000000Z", datetime(2025, 1, 15, 2, tzinfo=UTC)),
    ("2025-01-15T02:00:00+0000", datetime(2025, 1, 15, 2, tzinfo=UTC)),
    ("15.01.2025", "15.01.2025"),
]


@pytest.mark.parametrize(("text", "value"), DATES)
def test_F7_change_partition_of_sqlite_date_is_a_date(
    sqlite_file: Any, make_sensor: Callable[..., Any], text: str, value: object
) -> None:
    sqlite_file.execute("CREATE TABLE closing (day DATE, revenue INTEGER)")
    sqlite_file.execute("INSERT INTO closing VALUES (?, 100)", text)
    query = "SELECT day, revenue FROM closing ORDER BY day DESC LIMIT 1"
    sensor = make_sensor(DatabaseChange, url=sqlite_file.url, query=query, partition="day")
    (event,) = sensor.poll(sensor.init()).events
    assert event.partition == value == parse_partition(text)
    assert type(event.partition) is type(value)


@pytest.mark.parametrize(("text", "value"), DATES)
def test_F7_rows_partition_of_date_text_is_a_date(
    database: Any, make_sensor: Callable[..., Any], text: str, value: object
) -> None:
    database.execute("CREATE TABLE closing (id INTEGER, day VARCHAR(40))")
    database.execute(f"INSERT INTO closing VALUES (1, '{text}')")  # noqa: S608
    options = {"mode": "incrementing", "id_column": "id", "table": "closing"}
    sensor = make_sensor(
        DatabaseRows, url=database.url, horizon="clock", partition_column="day", **options
    )
    (event,) = sensor.poll(sensor.init()).events
    assert event.partition == value
    assert type(event.partition) is type(value)


def test_F7_rows_with_invalid_date_text_fail_the_poll(
    sqlite_file: Any, make_sensor: Callable[..., Any]
) -> None:
    sqlite_file.execute("CREATE TABLE closing (day DATE)")
    sqlite_file.execute("INSERT INTO closing VALUES ('2025-02-30')")
    sensor = make_sensor(
        DatabaseChange, url=sqlite_file.url, query="SELECT day FROM closing", partition="day"
    )
    with pytest.raises(PartitionError, match="invalid date '2025-02-30': day is out of range"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(("text", "value"), DATES)
def test_F7_notification_payload_of_a_date_is_a_date(text: str, value: object) -> None:
    assert from_text(text) == value


def test_N11_partition_of_an_empty_text_is_refused() -> None:
    with pytest.raises(ValueError, match="empty text"):
        as_partition("")
