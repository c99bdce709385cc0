"""Both sensors on a real MariaDB, where one is installed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flowstone_db import DatabaseChange, DatabaseRows
from flowstone_db.errors import QueryError, QueryTimeoutError

from flowstone_core import NotTriggered

DAY = date(2025, 1, 15)


@pytest.fixture
def orders(mariadb_database: Any) -> Any:
    """A database with an empty table of orders."""
    mariadb_database.execute(
        "CREATE TABLE orders (id INTEGER AUTO_INCREMENT PRIMARY KEY, at DATETIME(6), tenant TEXT)"
    )
    return mariadb_database


@pytest.mark.parametrize("mode", ["timestamp", "timestamp_incrementing", "incrementing"])
@pytest.mark.parametrize("query", [None, "SELECT *, ':x %s' AS more FROM orders -- all; of them"])
def test_Q2_rows_are_found_across_ties(
    orders: Any, make_sensor: Callable[..., Any], mode: str, query: str | None
) -> None:
    options: dict[str, Any] = {"query": query} if query else {"table": "orders"}
    if mode != "incrementing":
        options["timestamp_column"] = "at"
    if mode != "timestamp":
        options["id_column"] = "id"
    sensor = make_sensor(
        DatabaseRows, url=orders.url, mode=mode, row_limit=2, partition_column="tenant", **options
    )
    empty = sensor.poll(sensor.init())
    assert isinstance(empty, NotTriggered)
    for _ in range(5):
        orders.execute("INSERT INTO orders VALUES (NULL, '2025-01-15 08:00:00.5', '%%')")
    found, state = 0, empty.state
    while not isinstance(outcome := sensor.poll(state), NotTriggered):
        found, state = found + outcome.events[0].payload["rows"], outcome.state
        assert outcome.events[0].partition == "%%"
    assert found == 5


def test_Q1_lag_is_by_the_servers_clock_in_utc(
    orders: Any, make_sensor: Callable[..., Any]
) -> None:
    orders.execute("ALTER TABLE orders MODIFY at TIMESTAMP(6) NULL")
    orders.execute("SET time_zone = '+05:00'")
    orders.execute("INSERT INTO orders VALUES (1, now() - INTERVAL 1 MINUTE, 'eu')")
    orders.execute("INSERT INTO orders VALUES (2, now() + INTERVAL 1 MINUTE, 'eu')")
    orders.execute("SET time_zone = '+00:00'")
    options = {"url": orders.url, "table": "orders", "mode": "timestamp"}
    sensor = make_sensor(DatabaseRows, **options, timestamp_column="at", partition_column="tenant")
    outcome = sensor.poll(sensor.init())
    assert outcome.events[0].payload["rows"] == 1


def test_Q3_values_have_forms(mariadb_database: Any, make_sensor: Callable[..., Any]) -> None:
    query = (
        "SELECT CAST(1.50 AS DECIMAL(9, 2)) AS d, 1.5e0 AS f, NULL AS n, DATE '2025-01-15' AS day, "
        "TIMESTAMP '2025-01-15 10:00:00' AS t, TIME '10:00:00' AS c, 'a%s:x' AS s"
    )
    sensor = make_sensor(DatabaseChange, url=mariadb_database.url, query=query)
    (event,) = sensor.poll(sensor.init()).events
    assert event.payload["value"] == {
        "d": {"decimal": "1.5"},
        "f": 1.5,
        "n": None,
        "day": {"date": "2025-01-15"},
        "t": {"datetime": "2025-01-15T10:00:00"},
        "c": {"microseconds": "36000000000"},
        "s": "a%s:x",
    }


def test_Q6_a_query_that_never_returns_is_cancelled(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    sensor = make_sensor(
        DatabaseChange,
        url=mariadb_database.url,
        query="SELECT count(*) FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b",
        timeout=timedelta(milliseconds=100),
    )
    with pytest.raises(QueryTimeoutError, match="took too long"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; DELETE FROM orders",
        "WITH a AS (SELECT 1) DELETE FROM orders",
        "SELECT id FROM orders FOR UPDATE; COMMIT",
        "SELECT nothing",
    ],
)
def test_Q7_nothing_is_written(orders: Any, make_sensor: Callable[..., Any], query: str) -> None:
    orders.execute("INSERT INTO orders VALUES (1, NULL, 'eu')")
    sensor = make_sensor(DatabaseChange, url=orders.url, query=query)
    with pytest.raises(QueryError):
        sensor.poll(sensor.init())
    assert orders.execute("SELECT id FROM orders") == [(1,)]


def test_the_clock_is_that_of_the_server(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    sensor = make_sensor(DatabaseChange, url=mariadb_database.url, query="SELECT 1")
    with sensor._database.reading() as connection:
        moment = sensor._database.now(connection, lambda: datetime(1970, 1, 1, tzinfo=UTC))
    ((there,),) = mariadb_database.execute("SELECT utc_timestamp(6)")
    assert timedelta(0) <= there.replace(tzinfo=UTC) - moment < timedelta(minutes=1)
