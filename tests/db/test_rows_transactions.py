"""Rows committed late: open transactions of PostgreSQL, and the lag."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flowstone_db import DatabaseRows
from flowstone_db.errors import AccessError

from flowstone_core import NotTriggered
from tests.db.rows_support import Make, counts, drain, stored


def test_Q1_sqlite_ids_follow_commit_order(
    make_sensor: Callable[..., Any], sqlite_file: Any
) -> None:
    """A transaction that takes an id while another holds one is refused, or waits."""
    sqlite_file.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, tenant TEXT DEFAULT 'eu')")
    options = {"url": sqlite_file.url, "table": "queue", "mode": "incrementing"}
    sensor = make_sensor(DatabaseRows, **options, id_column="id", partition_column="tenant")
    slow = sqlite3.connect(sqlite_file.path, isolation_level=None)
    slow.execute("BEGIN")
    slow.execute("INSERT INTO queue DEFAULT VALUES")
    sqlite_file.connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite_file.execute("INSERT INTO queue DEFAULT VALUES")
    first = sensor.poll(sensor.init())
    assert counts(first) == {}
    slow.execute("COMMIT")
    slow.close()
    sqlite_file.execute("INSERT INTO queue DEFAULT VALUES")
    assert counts(sensor.poll(stored(first.state))) == {"eu": 2}


def test_Q1_rows_younger_than_lag_are_left_for_later(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    """Two sessions; the one that began first commits last, within the lag."""
    postgresql_database.execute("CREATE TABLE orders (id INTEGER, at TIMESTAMPTZ)")
    options = {"url": postgresql_database.url, "table": "orders", "mode": "timestamp"}
    sensor = make_sensor(DatabaseRows, **options, timestamp_column="at", lag="1h")
    slow = postgresql_database.connect()
    slow.execute("INSERT INTO orders VALUES (1, now() - interval '1 minute')")
    postgresql_database.execute("INSERT INTO orders VALUES (2, now())")
    first = sensor.poll(sensor.init())
    assert isinstance(first, NotTriggered)
    assert first.state["cursor"] is None
    slow.commit()
    slow.close()
    # What an hour would do: the rows get older.
    postgresql_database.execute("UPDATE orders SET at = at - interval '2 hours'")
    assert sum(counts(sensor.poll(first.state)).values()) == 2
    # What the lag is for: without it the row that comes late is passed over.
    hasty = make_sensor(DatabaseRows, **options, timestamp_column="at", lag="0s")
    state = hasty.poll(hasty.init()).state
    slow = postgresql_database.connect()
    slow.execute("INSERT INTO orders VALUES (3, now() - interval '1 minute')")
    postgresql_database.execute("INSERT INTO orders VALUES (4, now() - interval '1 second')")
    first = hasty.poll(state)
    slow.commit()
    slow.close()
    assert sum(counts(first).values()) == 1
    assert counts(hasty.poll(first.state)) == {}


@pytest.fixture
def queue(make_sensor: Callable[..., Any], postgresql_database: Any) -> Make:
    """Make sensors on PostgreSQL, on a table with a sequence, which wait for transactions."""
    postgresql_database.execute("CREATE TABLE queue (id BIGSERIAL, at TIMESTAMPTZ DEFAULT now())")

    def made(**options: Any) -> DatabaseRows:
        usual = {"url": postgresql_database.url, "table": "queue", "mode": "incrementing"}
        if options.get("mode") == "timestamp":
            usual["timestamp_column"] = "at"
        else:
            usual |= {"id_column": "id"}
            options["partition_fn"] = lambda row: str(row["id"])
        sensor = make_sensor(DatabaseRows, **usual | options)
        assert isinstance(sensor, DatabaseRows)
        return sensor

    return made


def test_Q1_lower_id_committed_later_is_found(queue: Make, postgresql_database: Any) -> None:
    sensor = queue()
    slow = postgresql_database.connect()
    slow.execute("INSERT INTO queue DEFAULT VALUES")
    postgresql_database.execute("INSERT INTO queue DEFAULT VALUES")
    held = sensor.poll(sensor.init())
    assert counts(held) == {}
    again = sensor.poll(stored(held.state))
    assert again.state == held.state
    slow.commit()
    slow.close()
    assert counts(sensor.poll(stored(again.state))) == {"1": 1, "2": 1}
    # What the horizon is for: the clock alone passes over.
    postgresql_database.execute("TRUNCATE queue RESTART IDENTITY")
    hasty = queue(horizon="clock")
    slow = postgresql_database.connect()
    slow.execute("INSERT INTO queue DEFAULT VALUES")
    postgresql_database.execute("INSERT INTO queue DEFAULT VALUES")
    first = hasty.poll(hasty.init())
    slow.commit()
    slow.close()
    assert counts(first) == {"2": 1}
    assert counts(hasty.poll(first.state)) == {}


def test_Q1_older_transaction_taking_id_later_is_waited_for(
    queue: Make, postgresql_database: Any
) -> None:
    """Its transaction id is lower than the other's, or higher, or not given out yet."""
    sensor = queue()
    postgresql_database.execute("CREATE TABLE other (n INTEGER)")
    early, fast = postgresql_database.connect(), postgresql_database.connect()
    fast.execute("INSERT INTO other VALUES (1)")
    early.execute("SELECT nextval('queue_id_seq')")
    fast.execute("INSERT INTO queue DEFAULT VALUES")
    fast.commit()
    held = sensor.poll(sensor.init())
    assert counts(held) == {}
    early.execute("INSERT INTO queue (id) VALUES (1)")
    early.commit()
    assert counts(sensor.poll(stored(held.state))) == {"1": 1, "2": 1}
    early.close()
    fast.close()


def test_Q1_timestamp_of_transaction_start_is_waited_for(
    queue: Make, postgresql_database: Any
) -> None:
    sensor = queue(mode="timestamp", horizon="snapshot", lag="0s")
    slow = postgresql_database.connect()
    slow.execute("SELECT now()")
    postgresql_database.execute("INSERT INTO queue DEFAULT VALUES")
    held = sensor.poll(sensor.init())
    assert counts(held) == {}
    slow.execute("INSERT INTO queue DEFAULT VALUES")
    slow.commit()
    slow.close()
    assert sum(counts(sensor.poll(stored(held.state))).values()) == 2


def test_Q1_steady_transactions_do_not_block_rows(queue: Make, postgresql_database: Any) -> None:
    """There is always one open, but never the same one for long."""
    sensor = queue(row_limit=2)
    state: Any = sensor.init()
    found = 0
    session = postgresql_database.connect()
    session.execute("INSERT INTO queue DEFAULT VALUES")
    for _ in range(10):
        following = postgresql_database.connect()
        following.execute("INSERT INTO queue DEFAULT VALUES")
        session.commit()
        session.close()
        outcome = sensor.poll(stored(state))
        found, state = found + sum(counts(outcome).values()), outcome.state
        session = following
    assert found >= 8
    session.commit()
    session.close()
    rows, _, _ = drain(sensor, state)
    assert found + rows == 11


def test_Q1_transactions_of_other_databases_are_ignored(
    queue: Make, postgresql_database: Any, postgresql: Any
) -> None:
    sensor = queue()
    with postgresql.database() as url, psycopg.connect(url) as stranger:
        stranger.execute("CREATE TABLE t (n INTEGER)")
        postgresql_database.execute("INSERT INTO queue DEFAULT VALUES")
        assert counts(sensor.poll(sensor.init())) == {"1": 1}
        stranger.rollback()


def test_Q1_reader_without_rights_sees_transactions(queue: Make, postgresql_database: Any) -> None:
    postgresql_database.execute("CREATE ROLE reader LOGIN")
    postgresql_database.execute("GRANT SELECT ON queue TO reader")
    url = postgresql_database.url.replace("postgres:@", "reader@")
    sensor = queue(url=url)
    slow = postgresql_database.connect()
    slow.execute("INSERT INTO queue DEFAULT VALUES")
    postgresql_database.execute("INSERT INTO queue DEFAULT VALUES")
    held = sensor.poll(sensor.init())
    slow.commit()
    slow.close()
    assert counts(held) == {}
    assert counts(sensor.poll(held.state)) == {"1": 1, "2": 1}
    sensor.connect()
    postgresql_database.execute("REVOKE SELECT ON pg_locks FROM PUBLIC")
    with pytest.raises(AccessError, match="permission denied for view pg_locks"):
        sensor.connect()
    sensor.cleanup()
    postgresql_database.execute("DROP OWNED BY reader")
    postgresql_database.execute("DROP ROLE reader")
