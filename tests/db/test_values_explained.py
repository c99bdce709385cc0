"""Values and names that a database takes and a sensor does not: the errors explain them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flowstone_db import DatabaseChange, DatabaseRows
from flowstone_db.errors import CursorError, PartitionError, QueryError

ROWS = {"mode": "timestamp", "timestamp_column": "at", "table": "orders"}


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 BC", "20000-01-01"])
@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "TIMESTAMP", "DATE"])
def test_X3_infinite_time_of_postgresql_is_explained(
    postgresql_database: Any, make_sensor: Callable[..., Any], value: str, kind: str
) -> None:
    postgresql_database.execute(f"CREATE TABLE orders (at {kind})")
    postgresql_database.execute(f"INSERT INTO orders VALUES ('{value}')")  # noqa: S608
    rows = make_sensor(DatabaseRows, url=postgresql_database.url, **ROWS)
    change = make_sensor(DatabaseChange, url=postgresql_database.url, query="SELECT at FROM orders")
    for sensor in (rows, change):
        with pytest.raises(QueryError, match=r"WHERE isfinite\(at\)"):
            sensor.poll(sensor.init())
    leave = "SELECT at FROM orders WHERE isfinite(at) AND at > '0001-01-01' AND at < '9999-01-01'"
    change = make_sensor(DatabaseChange, url=postgresql_database.url, query=leave)
    assert change.poll(change.init()).state["value"] == {"no_row": True}


@pytest.mark.parametrize(
    "options", [{"timestamp_column": "At"}, {"table": "Orders"}, {"table": "Public.orders"}]
)
def test_X3_name_in_capitals_on_postgresql_is_explained(
    postgresql_database: Any, make_sensor: Callable[..., Any], options: dict[str, str]
) -> None:
    postgresql_database.execute("CREATE TABLE Orders (At TIMESTAMPTZ)")
    sensor = make_sensor(DatabaseRows, url=postgresql_database.url, **ROWS | options)
    for call in (sensor.connect, lambda: sensor.poll(sensor.init())):
        with pytest.raises(QueryError, match="stores a name written without quotes in small"):
            call()


def test_X3_unknown_name_on_mariadb_is_explained(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    mariadb_database.execute("CREATE TABLE orders (id INTEGER)")
    for table in ("orders", "elsewhere"):
        sensor = make_sensor(DatabaseRows, url=mariadb_database.url, **ROWS | {"table": table})
        with pytest.raises(QueryError, match="check the names in the settings and in query"):
            sensor.poll(sensor.init())


@pytest.mark.parametrize("query", [None, "SELECT * FROM orders"])
@pytest.mark.parametrize("name", ["Ats", "order"])
def test_X3_unknown_quoted_name_on_sqlite_is_refused(
    sqlite_file: Any, make_sensor: Callable[..., Any], query: str | None, name: str
) -> None:
    """SQLite takes an unknown name in quotes for a text, which is the same in all rows."""
    sqlite_file.execute("CREATE TABLE orders (id INTEGER)")
    sqlite_file.execute("INSERT INTO orders VALUES (1)")
    table = {"table": "orders"} if query is None else {"query": query}
    options = {"mode": "incrementing", "id_column": name, "partition_column": "id"}
    sensor = make_sensor(DatabaseRows, url=sqlite_file.url, **table, **options)
    told = rf"no such column: \w+\.{name}.*check the names in the settings and in query"
    with pytest.raises(QueryError, match=told):
        sensor.poll(sensor.init())


@pytest.mark.parametrize("kind", ["DATETIME", "TIMESTAMP", "DATETIME(6)"])
@pytest.mark.parametrize("null", ["NOT NULL", "NULL"])
def test_X3_zero_date_of_mysql_is_explained(
    mariadb_database: Any, make_sensor: Callable[..., Any], kind: str, null: str
) -> None:
    mariadb_database.execute("SET SESSION sql_mode = ''")
    mariadb_database.execute(f"CREATE TABLE orders (at {kind} {null} DEFAULT 0)")
    mariadb_database.execute("INSERT INTO orders VALUES ('0000-00-00'), ('2025-01-15')")
    sensor = make_sensor(DatabaseRows, url=mariadb_database.url, **ROWS)
    with pytest.raises(CursorError, match="zero date") as caught:
        sensor.poll(sensor.init())
    assert "NULL" not in str(caught.value)
    query = "SELECT at FROM orders WHERE year(at) > 0"
    options = {"mode": "timestamp", "timestamp_column": "at", "query": query}
    sensor = make_sensor(DatabaseRows, url=mariadb_database.url, **options)
    assert len(sensor.poll(sensor.init()).events) == 1


def test_X3_zero_date_as_partition_is_refused(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    mariadb_database.execute("SET SESSION sql_mode = ''")
    mariadb_database.execute("CREATE TABLE orders (day DATE)")
    mariadb_database.execute("INSERT INTO orders VALUES ('0000-00-00')")
    sensor = make_sensor(
        DatabaseChange, url=mariadb_database.url, query="SELECT day FROM orders", partition="day"
    )
    with pytest.raises(PartitionError, match="invalid date '0000-00-00'"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            "2025-01-15 08:00:00",
            "2025-01-15T09:00:00Z",
            "from a text such as '2025-01-15 08:30:00' to that of '2025-01-15T09:00:00Z'",
        ),
        (
            1736942400,
            "2025-01-15 09:00:00",
            "from a number of seconds since 1970 to that of '2025-01-15 09:00:00'",
        ),
    ],
)
def test_X3_changed_format_of_times_is_told_in_words(
    sqlite_file: Any, make_sensor: Callable[..., Any], first: object, second: object, told: str
) -> None:
    sqlite_file.execute("CREATE TABLE orders (at)")
    sqlite_file.execute("INSERT INTO orders VALUES (?)", first)
    sensor = make_sensor(DatabaseRows, url=sqlite_file.url, **ROWS)
    state = sensor.poll(sensor.init()).state
    sqlite_file.execute("INSERT INTO orders VALUES (?)", second)
    with pytest.raises(CursorError, match=told):
        sensor.poll(state)


def test_X3_changed_zone_of_times_is_told_in_words(
    postgresql_database: Any, make_sensor: Callable[..., Any]
) -> None:
    postgresql_database.execute("CREATE TABLE orders (at TIMESTAMP)")
    postgresql_database.execute("INSERT INTO orders VALUES ('2025-01-15 08:00:00')")
    sensor = make_sensor(DatabaseRows, url=postgresql_database.url, **ROWS)
    state = sensor.poll(sensor.init()).state
    postgresql_database.execute("ALTER TABLE orders ALTER at TYPE TIMESTAMPTZ")
    told = "from a timestamp without a time zone to that of 2025-01-15 "
    with pytest.raises(CursorError, match=told):
        sensor.poll(state)


def test_X3_time_that_does_not_exist_is_told_in_words(
    sqlite_file: Any, make_sensor: Callable[..., Any]
) -> None:
    sqlite_file.execute("CREATE TABLE orders (at)")
    sqlite_file.execute("INSERT INTO orders VALUES ('2025-13-15 08:00:00')")
    sensor = make_sensor(DatabaseRows, url=sqlite_file.url, **ROWS)
    with pytest.raises(CursorError, match="'at' cannot order rows: invalid date '2025-13-15 08:"):
        sensor.poll(sensor.init())
