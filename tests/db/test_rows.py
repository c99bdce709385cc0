from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flowstone_db import DatabaseRows
from flowstone_db.errors import CursorError, DatabaseError, PartitionError, QueryError

from flowstone_core import NotTriggered, SensorBroken
from tests.db.rows_support import DAY, Make, add, counts, drain, stored


def test_new_data_fires(make_rows: Make, database: Any) -> None:
    sensor = make_rows()
    nothing = sensor.poll(sensor.init())
    assert isinstance(nothing, NotTriggered)
    add(database, (1, "08:00:00"), (2, "09:00:00"), (3, "2025-01-16 00:00:00"))
    first = sensor.poll(stored(nothing.state))
    assert counts(first) == {DAY: 2, date(2025, 1, 16): 1}
    head = first.events[0].payload  # type: ignore[union-attr]
    assert head is not None
    assert [head["first"]["id"], head["last"]["id"]] == [1, 2]  # type: ignore[index, call-overload]
    quiet = sensor.poll(first.state)
    assert isinstance(quiet, NotTriggered)
    assert quiet.state is first.state
    # A row that is changed is found again, by its new time.
    database.execute("UPDATE orders SET at = '2025-01-17 12:00:00' WHERE id = 1")
    assert counts(sensor.poll(stored(first.state))) == {date(2025, 1, 17): 1}


@pytest.mark.parametrize("mode", ["incrementing", "timestamp", "timestamp_incrementing"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_Q2_limit_within_equal_timestamps_loses_no_row(
    make_rows: Make, database: Any, mode: str, limit: int
) -> None:
    times = ["08:00:00"] * 3 + ["08:00:01"] * 4 + ["08:00:02"]
    add(database, *enumerate(times, 1))
    # A row of the tie that is there already, with an id below.
    options = {"partition_column": "tenant"} if mode == "incrementing" else {}
    sensor = make_rows(mode=mode, row_limit=limit, **options)
    rows, polls, state = drain(sensor, sensor.init())
    assert rows == 8
    if mode != "timestamp":
        assert polls == -(-8 // limit)
    assert polls <= 8
    add(database, (9, "08:00:03"))
    assert sum(counts(sensor.poll(state)).values()) == 1


def test_Q2_equal_ids_are_read_completely(make_rows: Make, database: Any) -> None:
    add(database, (1, "08:00:00"), (1, "08:00:00"), (1, "08:00:00"), (2, "08:00:00"))
    sensor = make_rows(row_limit=1)
    first = sensor.poll(sensor.init())
    assert counts(first) == {DAY: 3}
    assert counts(sensor.poll(first.state)) == {DAY: 1}


def test_Q5_rows_stream_up_to_limit(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    postgresql_database.execute(
        "CREATE TABLE big AS SELECT n AS id, (n % 3)::text AS tenant, repeat('x', 100) AS wide"
        " FROM generate_series(1, 30000) n"
    )
    sensor = make_sensor(
        DatabaseRows,
        url=postgresql_database.url,
        table="big",
        mode="incrementing",
        id_column="id",
        partition_column="tenant",
    )
    first = sensor.poll(sensor.init())
    assert sum(counts(first).values()) == 10_000
    assert first.events[0].payload == {"rows": 3334, "first": {"id": 1}, "last": {"id": 10_000}}
    rows, polls, _ = drain(sensor, first.state)
    assert (rows, polls) == (20_000, 2)


@pytest.mark.parametrize("database", ["postgresql_database", "mariadb_database"], indirect=True)
def test_Q5_rows_are_fetched_lazily(make_rows: Make, database: Any) -> None:
    """While the first row is looked at, the server has not sent the last ones."""
    fill = "INSERT INTO orders SELECT n, NULL, repeat('x', 1000) FROM "
    numbers = {
        "postgresql": "generate_series(1, 5000) AS n",
        "mariadb": "(SELECT seq AS n FROM seq_1_to_5000) AS numbers",
    }
    database.execute(fill + numbers[database.kind])
    at_work = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH FORWARD%' "
        "AND datname = current_database() AND application_name = 'flowstone'",
        "mariadb": "SELECT count(*) FROM information_schema.processlist "
        "WHERE command = 'Query' AND id <> connection_id()",
    }
    seen = []

    def look(row: Any) -> date:
        if row["id"] == 1:
            seen.extend(database.execute(at_work[database.kind]))
        return DAY

    sensor = make_rows(mode="incrementing", partition_fn=look)
    assert counts(sensor.poll(sensor.init())) == {DAY: 5000}
    assert seen == [(1,)]


@pytest.mark.parametrize("mode", ["timestamp", "timestamp_incrementing"])
def test_Q3_rows_without_key_fail_poll(make_rows: Make, database: Any, mode: str) -> None:
    add(database, (1, "08:00:00"), (2, None), (3, None))
    sensor = make_rows(mode=mode)
    with pytest.raises(CursorError, match=r"NULL in at.* of 2 rows"):
        sensor.poll(sensor.init())
    settled = make_rows(
        mode=mode, query="SELECT * FROM orders WHERE at IS NOT NULL -- the rest; later"
    )
    assert counts(settled.poll(settled.init())) == {DAY: 1}


def test_Q3_rows_with_nan_key_fail_poll(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    postgresql_database.execute("CREATE TABLE t AS SELECT unnest('{1,NaN,NaN}'::numeric[]) AS id")
    options = {"url": postgresql_database.url, "table": "t", "mode": "incrementing"}
    sensor = make_sensor(
        DatabaseRows, **options, id_column="id", partition_fn=lambda row: str(row["id"])
    )
    with pytest.raises(CursorError, match="NaN in id of 2 rows"):
        sensor.poll(sensor.init())
    postgresql_database.execute("DELETE FROM t WHERE id = 'NaN'")
    assert counts(sensor.poll(sensor.init())) == {"1": 1}
    postgresql_database.execute("ALTER TABLE t ADD at TIMESTAMPTZ DEFAULT '2025-01-15'")
    postgresql_database.execute("INSERT INTO t VALUES ('NaN', '2025-01-16')")
    both = make_sensor(
        DatabaseRows,
        **options | {"mode": "timestamp_incrementing"},
        id_column="id",
        timestamp_column="at",
    )
    with pytest.raises(CursorError, match=r"column 'id' cannot order rows: the value is NaN"):
        both.poll(both.init())


def test_Q3_rows_changed_column_type_fails_poll(make_rows: Make, database: Any) -> None:
    sensor = make_rows(mode="incrementing", partition_column="tenant")
    add(database, (1, "08:00:00"))
    state = sensor.poll(sensor.init()).state
    kind = "CHAR" if database.kind == "mariadb" else "TEXT"
    text = make_rows(
        query=f"SELECT CAST(id AS {kind}) AS id, tenant FROM orders",  # noqa: S608
        mode="incrementing",
        partition_column="tenant",
    )
    with pytest.raises(CursorError, match="has changed its type from int to that of '1'"):
        text.poll(stored(state))


def test_Q3_rows_ids_of_many_types_are_accepted(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    for kind, values in {
        "NUMERIC": ["1.50", "2"],
        "TEXT": ["a", "b"],
        "UUID": [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))],
        "BYTEA": ["\\x01", "\\x02"],
        "BIGINT": [str(2**40), str(2**62)],
        "FLOAT8": ["0.5", "1.5"],
    }.items():
        table = f"of_{kind}"
        postgresql_database.execute(f"CREATE TABLE {table} (id {kind})")
        sensor = make_sensor(
            DatabaseRows,
            url=postgresql_database.url,
            table=f"public.{table.lower()}",
            mode="incrementing",
            id_column="id",
            partition_fn=lambda row: DAY,
        )
        state = sensor.init()
        for value in values:
            postgresql_database.execute(f"INSERT INTO {table} VALUES (%s)", value)  # noqa: S608
            outcome = sensor.poll(stored(state))
            assert counts(outcome) == {DAY: 1}
            state = outcome.state
        assert isinstance(sensor.poll(stored(state)), NotTriggered)


def test_Q3_rows_boolean_and_date_keys_are_refused(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    postgresql_database.execute("CREATE TABLE t AS SELECT true AS flag, '2025-01-15'::date AS day")
    options = {"url": postgresql_database.url, "table": "t"}
    flag = make_sensor(
        DatabaseRows, **options, mode="incrementing", id_column="flag", partition_column="day"
    )
    with pytest.raises(
        CursorError, match=r"column 'flag' cannot order rows: unsupported type bool"
    ):
        flag.poll(flag.init())
    day = make_sensor(DatabaseRows, **options, mode="timestamp", timestamp_column="day")
    with pytest.raises(CursorError, match="a date has no time: rows of later that day"):
        day.poll(day.init())


def test_Q3_rows_naive_timestamps_use_timezone(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    postgresql_database.execute("CREATE TABLE t (at TIMESTAMP)")
    # An hour ago in New York: in UTC that is hours ago as well, in Tokyo it is many hours ago.
    postgresql_database.execute(
        "INSERT INTO t VALUES (now() AT TIME ZONE 'America/New_York' - interval '1 hour')"
    )
    found = {}
    for zone in ("America/New_York", "UTC", "Pacific/Pago_Pago"):
        sensor = make_sensor(
            DatabaseRows,
            url=postgresql_database.url,
            table="t",
            mode="timestamp",
            timestamp_column="at",
            timezone=zone,
        )
        found[zone] = sum(counts(sensor.poll(sensor.init())).values())
    # In Pago Pago it is earlier than in New York: there the row is of the future.
    assert found == {"America/New_York": 1, "UTC": 1, "Pacific/Pago_Pago": 0}


@pytest.mark.parametrize("mode", ["incrementing", "timestamp", "timestamp_incrementing"])
def test_Q4_rows_deleted_fail_poll(make_rows: Make, database: Any, mode: str) -> None:
    options = {"partition_column": "tenant"} if mode == "incrementing" else {}
    sensor = make_rows(mode=mode, **options)
    add(database, (1, "08:00:00"), (2, "09:00:00"))
    state = sensor.poll(sensor.init()).state
    database.execute("DELETE FROM orders WHERE id = 2")
    with pytest.raises(CursorError, match=r"were read, but now the greatest is .*restored"):
        sensor.poll(stored(state))
    database.execute("DELETE FROM orders")
    with pytest.raises(CursorError, match="were read, but now the table is empty"):
        sensor.poll(stored(state))
    add(database, (3, "10:00:00"))
    assert sum(counts(sensor.poll(stored(state))).values()) == 1


def test_Q4_rows_deleted_with_go_on_continue(make_rows: Make, database: Any) -> None:
    sensor = make_rows(if_max_falls="go_on")
    add(database, (1, "08:00:00"))
    state = sensor.poll(sensor.init()).state
    database.execute("DELETE FROM orders")
    empty = sensor.poll(stored(state))
    assert isinstance(empty, NotTriggered)
    assert empty.state == state
    add(database, (0, "07:00:00"))
    assert isinstance(sensor.poll(empty.state), NotTriggered)
    add(database, (2, "09:00:00"))
    assert counts(sensor.poll(empty.state)) == {DAY: 1}


def test_Q6_rows_slow_poll_keeps_state(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    sensor = make_sensor(
        DatabaseRows,
        url=postgresql_database.url,
        query="SELECT n AS id FROM generate_series(1, 1000000000) n",
        mode="incrementing",
        id_column="id",
        partition_fn=lambda row: DAY,
        timeout=timedelta(milliseconds=50),
    )
    with pytest.raises(DatabaseError, match="took too long"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS id) AS x; DELETE FROM orders; SELECT * FROM (SELECT 1 AS id",
        "SELECT 1 AS id) AS x; COMMIT; DELETE FROM orders; SELECT * FROM (SELECT 1 AS id",
        "WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone",
    ],
)
def test_Q7_rows_query_only_reads(make_rows: Make, database: Any, query: str) -> None:
    add(database, (1, "08:00:00"))
    sensor = make_rows(query=query, mode="incrementing", partition_fn=lambda row: DAY)
    with pytest.raises(QueryError):
        sensor.poll(sensor.init())
    assert database.execute("SELECT id FROM orders") == [(1,)]


def test_Q8_rows_sensor_survives_server_restart(
    make_rows: Make, database: Any, request: pytest.FixtureRequest
) -> None:
    add(database, (1, "08:00:00"))
    sensor = make_rows()
    state = sensor.poll(sensor.init()).state
    database.end_sessions()
    add(database, (2, "09:00:00"))
    assert counts(sensor.poll(state)) == {DAY: 1}


def test_Q9_rows_values_and_names_never_enter_a_statement(make_rows: Make, database: Any) -> None:
    evil = "x'; DROP TABLE orders; --"
    if database.kind == "mariadb":
        database.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')")
    database.execute('CREATE TABLE "Odd; name" ("i""d" TEXT, "par%t:ition" TEXT)')
    mark = database.mark
    insert = f'INSERT INTO "Odd; name" VALUES ({mark}, {mark})'  # noqa: S608
    database.execute(insert, evil, evil)
    sensor = make_rows(
        table="Odd; name", mode="incrementing", id_column='i"d', partition_column="par%t:ition"
    )
    first = sensor.poll(sensor.init())
    assert counts(first) == {evil: 1}
    database.execute(insert, evil + "z", evil)
    assert counts(sensor.poll(stored(first.state))) == {evil: 1}
    assert database.execute("SELECT count(*) FROM orders") == [(0,)]


def test_query_signs_are_not_placeholders(make_rows: Make, database: Any) -> None:
    add(database, (1, "08:00:00"))
    text = ":x %s %(y)s \\:z"
    cast = "::text" if database.kind == "postgresql" else ""
    literal = text.replace("\\", "\\\\") if database.kind == "mariadb" else text
    query = f"SELECT id, '{literal}'{cast} AS tenant FROM orders WHERE 7 % 4 = 3 -- :x"  # noqa: S608
    sensor = make_rows(query=query, mode="incrementing", partition_column="tenant")
    assert counts(sensor.poll(sensor.init())) == {text: 1}


def test_rows_start_new_fires_only_later_rows(make_rows: Make, database: Any) -> None:
    sensor = make_rows(start="new", row_limit=1)
    add(database, (1, "08:00:00"), (2, "08:00:00"), (3, "09:00:00"))
    first = sensor.poll(sensor.init())
    assert isinstance(first, NotTriggered)
    assert isinstance(sensor.poll(first.state), NotTriggered)
    add(database, (4, "09:00:00"))
    assert counts(sensor.poll(stored(first.state))) == {DAY: 1}
    database.execute("DELETE FROM orders")
    empty = sensor.poll(sensor.init())
    add(database, (1, "08:00:00"))
    assert counts(sensor.poll(stored(empty.state))) == {DAY: 1}


def test_partition_fn_gives_partition_or_none(make_rows: Make, database: Any) -> None:
    add(database, (1, "08:00:00", "eu"), (2, "08:00:00", "us"), (3, "08:00:00", "test"))
    seen = []

    def tenant(row: Any) -> str | None:
        seen.append(sorted(row))
        return None if row["tenant"] == "test" else row["tenant"]

    sensor = make_rows(partition_fn=tenant)
    first = sensor.poll(sensor.init())
    assert counts(first) == {"eu": 1, "us": 1}
    assert seen == [["at", "id", "tenant"]] * 3
    assert isinstance(sensor.poll(first.state), NotTriggered)


def test_rows_without_partition_fail_poll(make_rows: Make, database: Any) -> None:
    add(database, *((number, "08:00:00", None) for number in range(1, 6)))
    sensor = make_rows(mode="incrementing", partition_column="tenant")
    with pytest.raises(PartitionError) as caught:
        sensor.poll(sensor.init())
    assert caught.value.message == (
        "no partition for new rows: id=1: column 'tenant' is NULL; id=2: column 'tenant' is NULL; "
        "id=3: column 'tenant' is NULL; and 2 more"
    )
    database.execute("UPDATE orders SET tenant = 'eu' WHERE id > 1")
    with pytest.raises(PartitionError, match=r"rows: id=1: column 'tenant' is NULL \("):
        sensor.poll(sensor.init())


def test_rows_sqlite_timestamps_are_texts_or_numbers(
    make_sensor: Callable[..., Any], sqlite_file: Any, clock: Any
) -> None:
    forms = {
        "text": ["2025-01-15 12:00:00", "2025-01-15 12:00:20", "2025-01-15 12:00:28"],
        "iso": [
            "2025-01-15T14:00:00+02:00",
            "2025-01-15T14:00:20+02:00",
            "2025-01-15T14:00:28+02:00",
        ],
        "number": [1736942400, 1736942420, 1736942428],
        "milliseconds": [1736942400000.5, 1736942420000.5, 1736942428000.0],
    }
    for name, values in forms.items():
        sqlite_file.execute(f"CREATE TABLE {name} (at)")
        sensor = make_sensor(
            DatabaseRows, url=sqlite_file.url, table=name, mode="timestamp", timestamp_column="at"
        )
        for value in values:
            sqlite_file.execute(f"INSERT INTO {name} VALUES (?)", value)  # noqa: S608
        clock.time = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)
        first = sensor.poll(sensor.init())
        assert counts(first) == {DAY: 2}
        clock.time += timedelta(seconds=10)
        assert counts(sensor.poll(stored(first.state))) == {DAY: 1}


def test_rows_mixed_timestamp_formats_fail_poll(
    make_sensor: Callable[..., Any], sqlite_file: Any
) -> None:
    sqlite_file.execute("CREATE TABLE t (at)")
    sqlite_file.execute("INSERT INTO t VALUES ('2025-01-15 12:00:00'), ('2025-01-15T11:00:00')")
    sensor = make_sensor(
        DatabaseRows, url=sqlite_file.url, table="t", mode="timestamp", timestamp_column="at"
    )
    with pytest.raises(CursorError, match=r"'at' has changed its type"):
        sensor.poll(sensor.init())


def test_rows_connect_checks_columns_without_reading(make_rows: Make, database: Any) -> None:
    add(database, (1, "08:00:00"))

    def never(row: Any) -> None:
        raise AssertionError

    make_rows(partition_fn=never).connect()
    make_rows(mode="incrementing", partition_column="tenant").connect()
    for name in ("timestamp_column", "id_column", "partition_column"):
        with pytest.raises(QueryError, match=r"the query failed: .*nothing"):
            make_rows(**{name: "nothing"}).connect()
    with pytest.raises(QueryError, match="the query failed"):
        make_rows(table="nothing").connect()


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"version": 2}, "version 2"),
        ({"version": 1}, "KeyError"),
        (None, "TypeError"),
        (
            {"version": 1, "cursor": [1], "settled": None, "fence": None, "started": True},
            "another mode, not by at and id",
        ),
        (
            {"version": 1, "cursor": [[]], "settled": None, "fence": None, "started": True},
            "ValueError",
        ),
    ],
)
def test_state_unreadable_breaks_the_sensor(make_rows: Make, state: Any, complaint: str) -> None:
    with pytest.raises(SensorBroken, match=complaint):
        make_rows().poll(state)
