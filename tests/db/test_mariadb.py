"""Behaviour specific to MariaDB; the common tests run on MariaDB elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flowstone_db import DatabaseChange, DatabaseRows
from flowstone_db.errors import AccessError, DatabaseError, QueryError, QueryTimeoutError

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
def test_Q2_mariadb_rows_across_ties_are_found(
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


def test_Q1_mariadb_lag_uses_server_clock_in_utc(
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


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def rows(outcome: Any) -> int:
    """Return the number of rows of an outcome."""
    if isinstance(outcome, NotTriggered):
        return 0
    return sum(event.payload["rows"] for event in outcome.events)


def insert(session: Any, *values: object) -> None:
    with session.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders VALUES (%s, utc_timestamp(6) - INTERVAL %s SECOND, %s)", values
        )


@pytest.mark.parametrize("mode", ["timestamp", "timestamp_incrementing"])
def test_Q1_mariadb_late_commit_within_lag_is_found(
    orders: Any, make_sensor: Callable[..., Any], mode: str
) -> None:
    """Two sessions; the one that wrote first commits last."""
    options = {"url": orders.url, "table": "orders", "mode": mode, "timestamp_column": "at"}
    if mode != "timestamp":
        options["id_column"] = "id"
    sensor = make_sensor(DatabaseRows, **options, lag="1h")
    hasty = make_sensor(DatabaseRows, **options, lag="0s")
    slow, fast = orders.connect(autocommit=False), orders.connect(autocommit=False)
    insert(slow, 1, 60, "eu")
    insert(fast, 2, 30, "eu")
    fast.commit()
    first, early = sensor.poll(sensor.init()), hasty.poll(hasty.init())
    assert (rows(first), rows(early)) == (0, 1)
    slow.commit()
    # What the lag is for: without it the row that comes late is passed over.
    assert rows(hasty.poll(stored(early.state))) == 0
    # What an hour would do: the rows get older.
    orders.execute("UPDATE orders SET at = at - INTERVAL 2 HOUR")
    second = sensor.poll(stored(first.state))
    assert rows(second) == 2
    insert(slow, 3, 7100, "eu")
    slow.commit()
    assert rows(sensor.poll(stored(second.state))) == 1
    slow.close()
    fast.close()


def test_Q1_mariadb_lower_id_committed_later_is_missed(
    orders: Any, make_sensor: Callable[..., Any]
) -> None:
    """The limit that the README tells of: the server cannot say which transactions are open."""
    options = {"url": orders.url, "table": "orders", "mode": "incrementing", "id_column": "id"}
    sensor = make_sensor(DatabaseRows, **options, partition_column="tenant")
    slow, fast = orders.connect(autocommit=False), orders.connect(autocommit=False)
    insert(slow, None, 0, "eu")
    insert(fast, None, 0, "eu")
    fast.commit()
    first = sensor.poll(sensor.init())
    slow.commit()
    assert rows(first) == 1
    second = sensor.poll(stored(first.state))
    assert rows(second) == 0
    assert [each.example for each in second.skipped] == ["id=1"]
    slow.close()
    fast.close()


def test_Q2_mariadb_growing_tie_is_read_completely(
    orders: Any, make_sensor: Callable[..., Any]
) -> None:
    """Two sessions write rows of one timestamp; the limit cuts through them."""
    at = "2025-01-15 08:00:00.5"
    statement = "INSERT INTO orders VALUES (%s, %s, 'eu')"
    options = {"url": orders.url, "table": "orders", "mode": "timestamp_incrementing"}
    sensor = make_sensor(
        DatabaseRows, **options, id_column="id", timestamp_column="at", row_limit=2
    )
    state, found = sensor.init(), []
    for numbers in ((1, 2, 3), (4, 5), (6,)):
        with orders.connect() as session, session.cursor() as cursor:
            cursor.executemany(statement, [(number, at) for number in numbers])
        outcome = sensor.poll(stored(state))
        found.append(rows(outcome))
        state = outcome.state
    while count := rows(outcome := sensor.poll(stored(state))):
        found.append(count)
        state = outcome.state
    assert sum(found) == 6


def test_Q3_mariadb_values_are_encoded(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
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


def test_Q3_mariadb_timestamp_is_utc_in_any_server_zone(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    query = "SELECT FROM_UNIXTIME(0) AS t"
    mariadb_database.execute("SET GLOBAL time_zone = '+05:00'")
    try:
        sensor = make_sensor(DatabaseChange, url=mariadb_database.url, query=query)
        (event,) = sensor.poll(sensor.init()).events
    finally:
        mariadb_database.execute("SET GLOBAL time_zone = DEFAULT")
    assert event.payload["value"] == {"datetime": "1970-01-01T00:00:00"}


def test_Q6_mariadb_endless_query_is_cancelled(
    mariadb_database: Any, make_sensor: Callable[..., Any]
) -> None:
    sensor = make_sensor(
        DatabaseChange,
        url=mariadb_database.url,
        query="SELECT count(*) FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b",
        timeout=timedelta(milliseconds=100),
    )
    before = session_ids(mariadb_database)
    with pytest.raises(QueryTimeoutError, match="took too long"):
        sensor.poll(sensor.init())
    # The connection is thrown away, and the server has stopped working.
    while session_ids(mariadb_database) != before:
        """A session ends when it has noticed."""


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; DELETE FROM orders",
        "WITH a AS (SELECT 1) DELETE FROM orders",
        "SELECT id FROM orders FOR UPDATE; COMMIT",
        "SELECT nothing",
    ],
)
def test_Q7_mariadb_nothing_is_written(
    orders: Any, make_sensor: Callable[..., Any], query: str
) -> None:
    orders.execute("INSERT INTO orders VALUES (1, NULL, 'eu')")
    sensor = make_sensor(DatabaseChange, url=orders.url, query=query)
    with pytest.raises(QueryError):
        sensor.poll(sensor.init())
    assert orders.execute("SELECT id FROM orders") == [(1,)]


def session_ids(database: Any) -> list[Any]:
    """The connections that there are beside the test's own."""
    return list(
        database.execute(
            "SELECT id FROM information_schema.processlist "
            "WHERE id <> connection_id() AND user <> 'system user' ORDER BY id"
        )
    )


@pytest.mark.parametrize(
    "query",
    [
        "SELECT write_it()",
        "SELECT id, write_it() AS n FROM orders",
        "SELECT NEXTVAL(numbers)",
        "SELECT id FROM orders FOR UPDATE",
    ],
)
def test_Q7_mariadb_write_or_lock_is_refused(
    orders: Any, make_sensor: Callable[..., Any], query: str
) -> None:
    orders.execute("INSERT INTO orders VALUES (1, NULL, 'eu')")
    orders.execute("CREATE SEQUENCE numbers")
    orders.execute(
        "CREATE FUNCTION write_it() RETURNS INTEGER "
        "BEGIN INSERT INTO orders VALUES (NULL, NULL, 'us'); RETURN 1; END"
    )
    sensor = make_sensor(DatabaseChange, url=orders.url, query=query)
    with pytest.raises(QueryError, match="does more than read"):
        sensor.poll(sensor.init())
    assert orders.execute("SELECT tenant FROM orders") == [("eu",)]
    assert orders.execute("SELECT NEXTVAL(numbers)") == [(1,)]


def test_Q7_read_transaction_is_rolled_back(orders: Any, make_sensor: Callable[..., Any]) -> None:
    open_ones = "SELECT count(*) FROM information_schema.innodb_trx"
    sensor = make_sensor(DatabaseChange, url=orders.url, query="SELECT 1")
    with sensor._database.read_transaction() as connection:
        connection.exec_driver_sql("SELECT * FROM orders")
        assert connection.exec_driver_sql("SELECT @@in_transaction").scalar() == 1
    assert orders.execute(open_ones) == [(0,)]
    assert session_ids(orders) != []


def test_Q8_stale_connection_is_replaced(orders: Any, make_sensor: Callable[..., Any]) -> None:
    sensor = make_sensor(DatabaseChange, url=orders.url, query="SELECT connection_id() AS n")
    first = sensor.poll(sensor.init())
    assert isinstance(sensor.poll(first.state), NotTriggered)
    orders.end_sessions()
    second = sensor.poll(first.state)
    assert second.events[0].payload["value"] != first.state["value"]


def test_mariadb_login_and_rights_are_distinguished(
    orders: Any, make_sensor: Callable[..., Any]
) -> None:
    orders.execute("CREATE OR REPLACE USER reader@localhost IDENTIFIED BY 'c4n4ry'")
    orders.execute("GRANT SELECT ON shop.orders TO reader@localhost")
    orders.execute("CREATE TABLE price (cents INTEGER)")
    url = orders.url.replace("root@", "reader@")

    def make(query: str, **options: Any) -> Any:
        return make_sensor(
            DatabaseChange, query=query, **{"url": url, "password": "c4n4ry"} | options
        )

    good = make("SELECT count(*) FROM orders")
    good.connect()
    assert good.poll(good.init()).events[0].payload["value"] == 0
    for denied in ("SELECT * FROM price", "SELECT Host FROM mysql.user"):
        for attempt in (make(denied).connect, lambda query=denied: make(query).poll(good.init())):
            with pytest.raises(AccessError, match="permission denied"):
                attempt()
    with pytest.raises(AccessError, match="login failed") as caught:
        make("SELECT 1", password="c4n4ry2").connect()
    assert "c4n4ry" not in str(caught.value)
    with pytest.raises(DatabaseError, match="database not found"):
        make("SELECT 1", url=orders.url.replace("/shop", "/nothing"), password=None).connect()
    orders.execute("DROP USER reader@localhost")


def test_mariadb_now_is_server_time(mariadb_database: Any, make_sensor: Callable[..., Any]) -> None:
    sensor = make_sensor(DatabaseChange, url=mariadb_database.url, query="SELECT 1")
    with sensor._database.read_transaction() as connection:
        moment = sensor._database.now(connection, lambda: datetime(1970, 1, 1, tzinfo=UTC))
    ((there,),) = mariadb_database.execute("SELECT utc_timestamp(6)")
    assert timedelta(0) <= there.replace(tzinfo=UTC) - moment < timedelta(minutes=1)
