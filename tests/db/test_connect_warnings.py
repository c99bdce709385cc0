"""Warnings of ``flowstone check --connect``: settings that do not fit the time column."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flowstone_db import DatabaseRows
from flowstone_db.errors import CursorError

from flowstone_core.model.clock import SystemClock

KINDS = {
    "local": {"sqlite": "TEXT", "postgresql": "TIMESTAMP", "mariadb": "DATETIME"},
    "instant": {"sqlite": "INTEGER", "postgresql": "TIMESTAMPTZ", "mariadb": "TIMESTAMP NULL"},
}
NO_ZONE = "at has no time zone and is read as UTC"
BY_SESSION = "at is converted by the zone of the session"


@pytest.fixture
def warned(make_sensor: Callable[..., Any], caplog: Any, clock: Any) -> Callable[..., list[str]]:
    """Connect a sensor, and return its warnings."""
    clock.time = SystemClock().now()

    def connect(database: Any, **options: Any) -> list[str]:
        usual = {"mode": "timestamp", "timestamp_column": "at"}
        table = {} if "query" in options else {"table": "orders"}
        sensor = make_sensor(DatabaseRows, url=database.url, **{**usual, **table, **options})
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sensor.connect()
        return [record.getMessage() for record in caplog.records]

    return connect


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_F2_column_without_zone_is_warned_of_if_timezone_is_unset(
    database: Any, warned: Any, kind: str, filled: bool
) -> None:
    database.execute(f"CREATE TABLE orders (at {KINDS[kind][database.kind]})")
    if filled:
        number = kind == "instant" and database.kind == "sqlite"
        value = "1736942400" if number else "'2025-01-15 12:00:00'"
        database.execute(f"INSERT INTO orders VALUES ({value})")  # noqa: S608
    # The type of an empty column is known where columns have types.
    expected = kind == "local" and (filled or database.kind != "sqlite")
    told = warned(database)
    assert [NO_ZONE in each for each in told] == [True] * expected
    assert warned(database, timezone="UTC") == []
    assert warned(database, timezone="Asia/Tokyo") == []


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        ("mariadb", "CAST(at AS DATETIME)", True),
        ("mariadb", "at + INTERVAL 1 SECOND", True),
        ("mariadb", "from_unixtime(unix_timestamp(at))", True),
        ("mariadb", "coalesce(at, at)", False),
        ("mariadb", "CAST('2025-01-15 12:00' AS DATETIME)", False),
        ("postgresql", "at::timestamp", True),
        ("postgresql", "at AT TIME ZONE 'Asia/Tokyo'", False),
        ("postgresql", "at", False),
    ],
)
def test_F2_expression_by_session_is_warned_of(
    request: pytest.FixtureRequest, warned: Any, kind: str, column: str, expected: bool
) -> None:
    database: Any = request.getfixturevalue(f"{kind}_database")
    database.execute(f"CREATE TABLE orders (at {KINDS['instant'][kind]})")
    database.execute("INSERT INTO orders VALUES ('2025-01-15 12:00:00')")
    query = f"SELECT {column} AS at FROM orders"  # noqa: S608
    told = warned(database, query=query, timezone="Asia/Tokyo")
    assert [each for each in told if BY_SESSION not in each] == []
    assert bool(told) == expected
    if kind == "mariadb":
        assert warned(database, query=query, timezone="UTC") == []


def test_F2_session_zone_of_a_check_does_not_stay(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    mariadb_database.execute("SET time_zone = '+00:00'")
    mariadb_database.execute("CREATE TABLE orders (at TIMESTAMP NULL)")
    mariadb_database.execute("INSERT INTO orders VALUES ('2025-01-15 12:00:00')")
    query = "SELECT CAST(at AS DATETIME) AS at FROM orders"
    options = {"mode": "timestamp", "timestamp_column": "at", "timezone": "Asia/Tokyo"}
    sensor = make_sensor(DatabaseRows, url=mariadb_database.url, query=query, **options)
    sensor.connect()
    (event,) = sensor.poll(sensor.init()).events
    assert event.payload["first"] == {"at": {"datetime": "2025-01-15T12:00:00"}}


def test_F2_time_in_the_future_is_warned_of(database: Any, warned: Any, clock: Any) -> None:
    database.execute(f"CREATE TABLE orders (at {KINDS['local'][database.kind]})")
    local = (clock.time + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S")
    database.execute(f"INSERT INTO orders VALUES ('{local}')")  # noqa: S608
    (told,) = warned(database, timezone="UTC")
    assert f"the greatest at, {local}, is 9.0 hours ahead" in told.replace("'", "")
    assert warned(database, timezone="Asia/Tokyo") == []


def test_F4_date_as_timestamp_is_refused_by_connect(
    database: Any, make_sensor: Callable[..., Any]
) -> None:
    database.execute("CREATE TABLE orders (at DATE)")
    options = {"mode": "timestamp", "timestamp_column": "at", "table": "orders"}
    sensor = make_sensor(DatabaseRows, url=database.url, **options)
    if database.kind != "sqlite":  # a column of SQLite has no type, but its values do
        with pytest.raises(CursorError, match="'at' is a date, which has no time"):
            sensor.connect()
    database.execute("INSERT INTO orders VALUES ('2025-01-15')")
    with pytest.raises(CursorError, match="'at' cannot order rows"):
        sensor.connect()


@pytest.mark.parametrize(
    ("times", "options", "step"),
    [
        (["12:05:00", "12:06:00", "13:00:00"], {}, "whole minutes"),
        (["11:00:00", "12:00:00", "13:00:00"], {"lag": "1m"}, "whole hours"),
        (["2025-01-13 00:00:00", "2025-01-14 00:00:00", "2025-01-15 00:00:00"], {}, "whole days"),
        (["12:05:00", "12:10:00", "13:00:00"], {"lag": "1m"}, "steps of 5 minutes"),
        (["12:15:00", "12:30:00", "13:00:00"], {"lag": "14m"}, "steps of 15 minutes"),
        (["12:15:00", "12:30:00", "13:00:00"], {"lag": "15m"}, None),
        (["12:05:00", "12:05:10", "12:05:30"], {}, "steps of 10 seconds"),
        (["12:05:00", "12:05:10", "12:05:30"], {"lag": "10s"}, None),
        (["12:05:00", "12:06:00", "13:00:00"], {"lag": "1m"}, None),
        (["12:05:00", "12:06:01", "13:00:00"], {}, None),
        (["12:05:00", "12:05:00", "13:00:00"], {}, None),
        (
            ["12:05:00", "12:06:00", "13:00:00"],
            {"mode": "timestamp_incrementing", "id_column": "id"},
            None,
        ),
    ],
)
def test_F4_column_of_whole_minutes_or_more_is_warned_of(
    database: Any, warned: Any, times: list[str], options: dict[str, str], step: str | None
) -> None:
    database.execute(f"CREATE TABLE orders (id INTEGER, at {KINDS['local'][database.kind]})")
    for time in times:
        at = time if len(time) > 8 else f"2025-01-15 {time}"
        database.execute(f"INSERT INTO orders VALUES (1, '{at}')")  # noqa: S608
    told = warned(database, timezone="UTC", **options)
    expected = [] if step is None else [f"at holds {step}: a row that comes later in the same "]
    assert [each[: len(expected[0])] for each in told if expected] == expected
    assert len(told) == len(expected)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["2025-01-15 12:05:00", "2025-01-15"], "column 'at' cannot order rows"),
        (["2025-01-15 12:05:00", "2025-01-14 12:05:00Z"], "column 'at' has changed its type"),
    ],
)
def test_connect_names_the_column_of_mixed_texts(
    sqlite_file: Any, warned: Any, texts: list[str], said: str
) -> None:
    sqlite_file.execute("CREATE TABLE orders (id INTEGER, at TEXT)")
    for text in [*texts, "2025-01-15 12:06:00"]:
        sqlite_file.execute("INSERT INTO orders VALUES (1, ?)", text)
    with pytest.raises(CursorError, match=said):
        warned(sqlite_file, timezone="UTC")
