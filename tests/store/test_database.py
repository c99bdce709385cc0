"""The connection to each database: its safety, its URL, and its errors in our words."""

from __future__ import annotations

import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, text

from flowstone_core.errors import StoreError, StoreUnavailableError, ValidationError
from flowstone_core.store import Store, database, sql_engines
from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
QUOTED = "sekret%2Fof%40the%3Astore"


@pytest.fixture
def opened(own_store_url):
    opened = Database(parse_url(own_store_url))
    yield opened
    opened.close()


def execute(connection, statement):
    return connection.execute(text(statement))


def scalar(connection, statement):
    return connection.scalar(text(statement))


# -- the URL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite://", "sqlite://"),
        ("sqlite:///flowstone.db", "sqlite:///flowstone.db"),
        ("sqlite:////var/lib/a b.db", "sqlite:////var/lib/a b.db"),
        ("sqlite+pysqlite:///flowstone.db", "sqlite:///flowstone.db"),
        ("postgresql://host/name", "postgresql://host/name"),
        ("postgres://host/name", "postgresql://host/name"),
        ("postgresql+psycopg://host:5433/name", "postgresql://host:5433/name"),
        (f"postgres://me:{QUOTED}@host/name", "postgresql://me:***@host/name"),
        (
            f"postgres://host/name?sslmode=require&password={QUOTED}",
            "postgresql://host/name?password=***&sslmode=require",
        ),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    opened = Database(parse_url(url))
    assert opened.display == shown
    opened.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "invalid store URL"),
        ("flowstone.db", "invalid store URL"),
        (f"postgresql://me:{QUOTED}@host:port/name", "invalid store URL"),
        (f"postgresql://me:{QUOTED}@[::1/name", "invalid store URL"),
        (f"mysql://me:{QUOTED}@host/name", "unsupported database 'mysql'"),
        ("postgresql+psycopg2://host/name", "unsupported database .postgresql.psycopg2."),
        ("sqlite://flowstone.db", "must be a plain path"),
        ("sqlite:///flowstone.db?mode=ro", "must be a plain path"),
        ("sqlite:///file:flowstone.db", "must be a plain path"),
    ],
)
def test_invalid_store_url_is_refused_with_a_hint_and_no_password(url, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        Store.open(url)
    assert "use sqlite:///path/to/file.db or postgresql://" in str(caught.value)
    assert "sekret" not in str(caught.value)


def test_a_missing_driver_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'flowstone-core\[postgresql\]'"):
        Store.open(f"postgresql://me:{QUOTED}@host/name")


# -- transactions ----------------------------------------------------------------------------------


def test_write_that_raises_is_rolled_back(opened):
    def write(connection):
        execute(connection, "DELETE FROM flowstone_schema")
        raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        opened.write(write)
    assert opened.read(scalar, "SELECT count(*) FROM flowstone_schema") == 1


@pytest.fixture
def empty_file(tmp_path):
    path = tmp_path / "flowstone.db"
    path.touch()
    return path


def test_a_read_sees_one_moment_on_sqlite(empty_file):
    opened = Database(parse_url(f"sqlite:///{empty_file}"))
    opened.write(execute, "CREATE TABLE numbers (n)")

    def read(connection):
        before = scalar(connection, "SELECT count(*) FROM numbers")
        opened.write(execute, "INSERT INTO numbers VALUES (1)")
        return before, scalar(connection, "SELECT count(*) FROM numbers")

    assert opened.read(read) == (0, 0)
    assert opened.read(scalar, "SELECT count(*) FROM numbers") == 1
    opened.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5_000)],
)
def test_K13_every_sqlite_connection_is_durable(empty_file, pragma, value):
    opened = Database(parse_url(f"sqlite:///{empty_file}"))
    both = threading.Barrier(2)

    def ask(connection):
        both.wait(60)  # so that there are two connections
        return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: opened.read(ask), range(2))) == [value] * 2
    opened.close()


def test_an_event_without_its_materialization_is_refused(opened):
    statement = (
        "INSERT INTO flowstone_events (source, key, asset, partition, created_at, "
        "materialization_id) VALUES ('s', 'my-key', 'a', 'p', '2025-01-01 00:00:00+00', 404)"
    )
    with pytest.raises(StoreError, match=r"(?i)foreign key constraint") as caught:
        opened.write(execute, statement)
    assert caught.value.retryable is False
    assert "my-key" not in str(caught.value)


# -- errors of SQLite ------------------------------------------------------------------------------


def test_D1_a_locked_database_is_unavailable_and_then_available_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 20)
    path = tmp_path / "flowstone.db"
    store = Store.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"locked.*another process") as caught:
            store.runners.stop("one", NOW)
        assert caught.value.retryable is True
        assert store.runners.all() == []  # reading goes on
        other.execute("ROLLBACK")
    store.runners.stop("one", NOW)
    store.close()


def test_threads_of_one_process_take_turns_and_never_find_it_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 0)
    store = Store.open(f"sqlite:///{tmp_path / 'flowstone.db'}")

    def write(part):
        for number in range(25):
            store.sensors.declare([f"sensor-{part}-{number}"], NOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(store.sensors.all()) == 100
    store.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_D2_a_full_disk_loses_nothing_and_is_recovered_from(bench):
    def limit(pages):
        bench.store._database.read(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        )

    events = [bench.event(f"k{number}", partition=f"p{number}") for number in range(2_000)]
    commit = bench.tick("feed", *events)
    before = bench.store.sensors.all()
    limit(1)
    with pytest.raises(StoreUnavailableError, match=r"disk is full.*free some space"):
        bench.commit(commit)
    assert bench.store.sensors.all() == before
    assert (bench.store.events.latest(), bench.store.ticks.latest()) == ([], [])
    limit(1_000_000)
    assert bench.commit(commit)[0].tick.events == 2_000


def test_file_that_cannot_be_opened_is_unavailable(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    store = Store.open(f"sqlite:///{folder}/flowstone.db")
    store.close()
    folder.rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailableError, match="unable to open database file"):
        store.runners.all()
    (tmp_path / "moved").rename(folder)
    assert store.runners.all() == []
    store.close()


def test_a_database_in_memory_that_is_never_let_go_is_unavailable(monkeypatch):
    store = Store.open("sqlite://")
    pool = store._database._engine.pool
    pool._timeout = 0.01
    with (
        store._database._engine.connect(),
        pytest.raises(StoreUnavailableError, match="no free connection"),
    ):
        store.runners.all()
    store.close()


# -- errors of PostgreSQL --------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailableError, match="is PostgreSQL running") as caught:
        Store.open(f"postgresql://me:{QUOTED}@/name?host={tmp_path}")
    assert "sekret" not in str(caught.value)


@pytest.mark.parametrize("backend", ["postgresql"])
class TestPostgresql:
    """What only a server can do."""

    def test_D11_connections_ended_by_the_server_are_replaced(self, store, postgresql):
        store.runners.all()
        postgresql.execute(END_ALL)
        assert store.runners.all() == []

    def test_a_connection_that_is_lost_in_a_transaction_is_unavailable(self, opened, postgresql):
        def write(connection):
            execute(connection, "DELETE FROM flowstone_schema")
            postgresql.execute(END_ALL)
            execute(connection, "DELETE FROM flowstone_schema")

        with pytest.raises(StoreUnavailableError):
            opened.write(write)
        assert opened.read(scalar, "SELECT count(*) FROM flowstone_schema") == 1

    def test_D13_server_that_only_reads_is_unavailable(self, opened):
        def write(connection):
            execute(connection, "SET TRANSACTION READ ONLY")
            execute(connection, "DELETE FROM flowstone_schema")

        with pytest.raises(StoreUnavailableError, match="read-only transaction"):
            opened.write(write)

    def test_a_value_that_the_server_refuses_is_no_outage(self, opened):
        def write(connection):
            connection.execute(text("SELECT :value"), {"value": "nul \0"})

        with pytest.raises(StoreError, match="NUL") as caught:
            opened.write(write)
        assert caught.value.retryable is False

    def test_D14_of_two_that_wait_for_each_other_one_begins_again(self, opened):
        for name in "ab":
            opened.write(execute, f"CREATE TABLE {name} AS SELECT 1 AS n")
        both = threading.Barrier(2)
        statements = ["UPDATE a SET n = n + 1", "UPDATE b SET n = n + 1"]
        calls = []

        def update(connection, first, second):
            calls.append(first)
            execute(connection, first)
            if len(calls) <= 2:
                both.wait(60)
            execute(connection, second)

        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(opened.write, update, *statements[::step]) for step in (1, -1)]
            for job in jobs:
                job.result()
        assert len(calls) > 2  # each of them may have been the one that was undone
        assert opened.read(scalar, "SELECT a.n + b.n FROM a, b") == 6

    def test_D14_key_that_was_taken_meanwhile_is_looked_for_again_a_few_times(self, opened):
        opened.write(execute, "CREATE TABLE a AS SELECT 1 AS n")
        opened.write(execute, "CREATE UNIQUE INDEX one ON a (n)")
        calls = []

        def insert(connection):
            calls.append(1)
            execute(connection, "INSERT INTO a VALUES (1)")

        with pytest.raises(StoreError, match="unique constraint") as caught:
            opened.write(insert)
        assert len(calls) == database.WRITE_ATTEMPTS
        assert caught.value.retryable is False

    def test_statements_see_commits_of_other_transactions(self, opened):
        level = opened.read(scalar, "SHOW transaction_isolation")
        assert level == "read committed"


END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name LIKE 'flowstone:%' AND pid <> pg_backend_pid()"
)


def test_a_store_shows_its_url_and_never_its_password(store, store_url):
    shown = parse_url(store_url).render_as_string(hide_password=True)
    # The tests' server asks for no password: an empty one hides nothing.
    assert store.url == shown.replace("+psycopg", "").replace(":***@", ":@")


def test_U7_connection_in_use_at_the_end_is_closed_when_returned(opened):
    closed = []
    event.listen(opened._engine, "close", lambda connection, _: closed.append(connection))

    def read(connection):
        opened.close()
        return connection.connection.dbapi_connection

    used = opened.read(read)
    assert used in closed
    assert opened.read(scalar, "SELECT 1") == 1  # by another one
    assert opened.read(lambda connection: connection.connection.dbapi_connection) is not used


def test_R4_locked_database_promises_no_other_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 20)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with (
        closing(Store.open(url)) as store,
        closing(sqlite3.connect(tmp_path / "store.db")) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError) as caught:  # as a command ends that asks once
            store.sensors.declare(["feed"], NOW)
    assert caught.value.hint == "another process holds the lock: wait until it is released"
