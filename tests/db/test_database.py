"""Connection of the database sensors: read-only, time limits, errors and recovery."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from flowstone_db.config import DatabaseConfig
from flowstone_db.database import ReadOnlyDatabase, transaction_statements
from flowstone_db.errors import (
    AccessError,
    DatabaseError,
    DatabaseUnavailableError,
    QueryError,
    QueryTimeoutError,
    translate_error,
)

from flowstone_core import PollContext

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def ask(reader: ReadOnlyDatabase, query: str) -> list[Any]:
    with reader.read_transaction() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def stream(reader: ReadOnlyDatabase, query: str) -> list[Any]:
    """Ask as the sensors ask."""
    options = {"stream_results": True, "no_parameters": True}
    with reader.read_transaction() as connection:
        return list(connection.execution_options(**options).exec_driver_sql(query))


@pytest.fixture
def open_database(clock: Any) -> Any:
    made: list[ReadOnlyDatabase] = []

    def make(url: str, **options: Any) -> ReadOnlyDatabase:
        config = DatabaseConfig.model_validate({"url": url} | options)
        made.append(ReadOnlyDatabase(config, PollContext(clock=clock)))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


Open = Callable[..., ReadOnlyDatabase]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (2)",
        "DELETE FROM t",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "CREATE TABLE u (n INTEGER)",
        "CREATE TEMP TABLE u (n INTEGER)",
        "ATTACH DATABASE '{other}' AS other",
        "SELECT load_extension('{other}')",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = ON",
        "SELECT * FROM pragma_journal_mode",
        "VACUUM INTO '{other}'",
        "SAVEPOINT s",
        "SELECT 1; DELETE FROM t",
    ],
)
def test_Q7_sqlite_only_reads(
    open_database: Open, sqlite_file: Any, tmp_path: Any, statement: str
) -> None:
    sqlite_file.execute("CREATE TABLE t (n INTEGER)")
    sqlite_file.execute("INSERT INTO t VALUES (1)")
    reader = open_database(sqlite_file.url)
    other = tmp_path / "other"
    with pytest.raises(QueryError):
        ask(reader, statement.format(other=other))
    assert not other.exists()
    assert ask(reader, "SELECT n FROM t") == [(1,)]
    assert sqlite_file.execute("SELECT name FROM sqlite_schema") == [("t",)]


def test_Q7_sqlite_file_is_opened_read_only(open_database: Open, sqlite_file: Any) -> None:
    sqlite_file.execute("CREATE TABLE t (n INTEGER)")
    reader = open_database(sqlite_file.url)
    with reader.read_transaction() as connection:
        raw: Any = connection.connection.driver_connection
        raw.set_authorizer(None)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            raw.execute("INSERT INTO t VALUES (2)")


def test_sqlite_missing_file_is_not_created(open_database: Open, tmp_path: Any) -> None:
    path = tmp_path / "later.db"
    reader = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened for reading"):
        ask(reader, "SELECT 1")
    assert not path.exists()
    sqlite3.connect(path).close()
    assert ask(reader, "SELECT 1") == [(1,)]


def test_sqlite_path_is_relative_to_folder(
    open_database: Open, sqlite_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sqlite_file.path.parent)
    sqlite_file.execute("CREATE TABLE t (n INTEGER)")
    shutil.copy(sqlite_file.path, "50% of #1.db")
    reader = open_database("sqlite:///50% of #1.db")
    assert ask(reader, "SELECT count(*) FROM t") == [(0,)]


def test_sqlite_foreign_file_is_reported(open_database: Open, tmp_path: Any) -> None:
    (tmp_path / "x.db").write_text("no database at all" * 100)
    with pytest.raises(DatabaseError, match="is not an SQLite database"):
        ask(open_database(f"sqlite:///{tmp_path}/x.db"), "SELECT * FROM t")


def test_sqlite_locked_file_is_retryable(open_database: Open, sqlite_file: Any) -> None:
    sqlite_file.execute("CREATE TABLE t (n INTEGER)")
    sqlite_file.execute("BEGIN EXCLUSIVE")
    reader = open_database(sqlite_file.url, timeout=timedelta(milliseconds=1))
    with pytest.raises(DatabaseUnavailableError, match="locked") as caught:
        ask(reader, "SELECT * FROM t")
    assert caught.value.retryable
    sqlite_file.execute("ROLLBACK")
    assert ask(reader, "SELECT * FROM t") == []


def test_Q6_sqlite_endless_query_is_cancelled(
    open_database: Open, sqlite_file: Any, clock: Any
) -> None:
    reader = open_database(sqlite_file.url, timeout="5s")
    assert ask(reader, "SELECT 1") == [(1,)]
    clock.step = 1.0
    with pytest.raises(QueryTimeoutError, match="took too long"):
        ask(reader, ENDLESS)
    clock.step = 0.0
    assert ask(reader, "SELECT 1") == [(1,)]


def test_Q6_postgresql_endless_query_is_cancelled(
    open_database: Open, postgresql_database: Any
) -> None:
    reader = open_database(postgresql_database.url, timeout=timedelta(milliseconds=50))
    (first,) = ask(reader, "SELECT pg_backend_pid()")
    assert ask(reader, "SELECT pg_backend_pid()") == [first]
    with pytest.raises(QueryTimeoutError, match="statement timeout"):
        ask(reader, ENDLESS)
    assert ask(reader, "SELECT pg_backend_pid()") != [first]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (2)",
        "WITH gone AS (DELETE FROM t RETURNING n) SELECT n FROM gone",
        "SELECT write_it()",
        "CREATE TABLE u (n INTEGER)",
        "SELECT n INTO u FROM t",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT nextval('s')",
        "COPY t TO PROGRAM 'cat'",
        "SELECT n FROM t; DELETE FROM t",
        "SELECT n FROM t; COMMIT; DELETE FROM t",
        "COMMIT",
    ],
)
def test_Q7_postgresql_only_reads(
    open_database: Open, postgresql_database: Any, statement: str
) -> None:
    postgresql_database.execute("CREATE TABLE t AS SELECT 1 AS n")
    postgresql_database.execute("CREATE SEQUENCE s")
    postgresql_database.execute(
        "CREATE FUNCTION write_it() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (2);SELECT 1'"
    )
    reader = open_database(postgresql_database.url)
    with pytest.raises(DatabaseError):
        stream(reader, statement)
    assert postgresql_database.execute("SELECT n FROM t") == [(1,)]


def test_Q7_read_transaction_is_rolled_back(open_database: Open, postgresql_database: Any) -> None:
    reader = open_database(postgresql_database.url)
    with reader.read_transaction() as connection:
        connection.exec_driver_sql("SELECT set_config('statement_timeout', '0', false)")
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
    query = "SELECT state FROM pg_stat_activity WHERE application_name = 'flowstone'"
    assert postgresql_database.execute(query) == [("idle",)]
    assert ask(reader, "SHOW statement_timeout") == [("30s",)]


def test_Q8_stale_connection_is_replaced(open_database: Open, postgresql_database: Any) -> None:
    reader = open_database(postgresql_database.url)
    ((pid,),) = ask(reader, "SELECT pg_backend_pid()")
    postgresql_database.execute("SELECT pg_terminate_backend(%s)", pid)
    assert ask(reader, "SELECT pg_backend_pid()") != [(pid,)]


def test_Q8_sqlite_replaced_file_is_reopened(
    open_database: Open, sqlite_file: Any, tmp_path: Any
) -> None:
    """As by a nightly export, which writes a new file and renames it."""
    sqlite_file.execute("CREATE TABLE t AS SELECT 1 AS n")
    reader = open_database(sqlite_file.url)
    assert ask(reader, "SELECT n FROM t") == [(1,)]
    new = sqlite3.connect(tmp_path / "new.db")
    new.execute("CREATE TABLE t AS SELECT 2 AS n")
    new.close()
    (tmp_path / "new.db").replace(sqlite_file.path)
    assert ask(reader, "SELECT n FROM t") == [(2,)]


def test_Q8_database_has_one_connection_and_closes_it(
    open_database: Open, postgresql_database: Any
) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowstone'"
    reader = open_database(postgresql_database.url, timeout=timedelta(milliseconds=10))
    with reader.read_transaction():
        with pytest.raises(DatabaseUnavailableError, match="temporarily unavailable"):
            ask(reader, "SELECT 1")
        assert postgresql_database.execute(query) == [(1,)]
    assert ask(reader, "SELECT 1") == [(1,)]
    reader.close()
    reader.close()


def test_connection_broken_midway_is_replaced(
    open_database: Open, postgresql_database: Any
) -> None:
    reader = open_database(postgresql_database.url)
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(DatabaseUnavailableError))
        connection = stack.enter_context(reader.read_transaction())
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        postgresql_database.execute("SELECT pg_terminate_backend(%s)", pid)
        connection.exec_driver_sql("SELECT 1")
    assert ask(reader, "SELECT 1") == [(1,)]


def test_connection_foreign_error_passes_unchanged(open_database: Open, sqlite_file: Any) -> None:
    reader = open_database(sqlite_file.url)
    with pytest.raises(ZeroDivisionError), reader.read_transaction():
        raise ZeroDivisionError
    assert ask(reader, "SELECT 1") == [(1,)]


def test_connection_missing_server_error_hides_password(open_database: Open) -> None:
    reader = open_database("postgresql://me:c4n4ry@127.0.0.1:1/shop?sslpassword=c4n4ry2")
    with pytest.raises(DatabaseUnavailableError) as caught:
        ask(reader, "SELECT 1")
    text = str(caught.value)
    assert "cannot be reached" in text
    assert "postgresql://me:***@127.0.0.1:1/shop" in text
    assert "c4n4ry" not in text
    assert "c4n4ry" not in repr(caught.value.__cause__)


def test_error_rights_and_database_are_distinguished(
    open_database: Open, postgresql_database: Any
) -> None:
    postgresql_database.execute("CREATE ROLE nobody LOGIN")
    postgresql_database.execute("CREATE TABLE t (n INTEGER)")
    url = postgresql_database.url.replace("postgres:@", "nobody@")
    with pytest.raises(AccessError, match="permission denied: permission denied for table t"):
        ask(open_database(url), "SELECT * FROM t")
    postgresql_database.execute("DROP ROLE nobody")
    with pytest.raises(DatabaseUnavailableError, match='"nobody" does not exist'):
        ask(open_database(url), "SELECT 1")


@pytest.mark.parametrize(("backend", "module"), [("mysql", "pymysql"), ("postgresql", "psycopg")])
def test_error_missing_driver_is_named(
    open_database: Open, monkeypatch: pytest.MonkeyPatch, backend: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DatabaseError, match=rf"pip install 'flowstone-db\[{backend}\]'"):
        ask(open_database(f"{backend}://host/shop"), "SELECT 1")


def test_Q6_mysql_and_mariadb_time_limits_differ() -> None:
    half = timedelta(milliseconds=500)
    assert "SET SESSION max_execution_time = 500" in transaction_statements("mysql", half)
    assert "SET SESSION max_statement_time = 0.5" in transaction_statements("mariadb", half)
    assert "SET SESSION sql_select_limit = DEFAULT" in transaction_statements("mysql", half)
    assert "SET SESSION sql_select_limit = 2" in transaction_statements("mariadb", half, 2)
    assert transaction_statements("mysql", half)[-1] == "START TRANSACTION READ ONLY"
    assert transaction_statements("mariadb", half)[-1] == "START TRANSACTION READ ONLY"
    assert "SET LOCAL statement_timeout = 1" in transaction_statements(
        "postgresql", timedelta(microseconds=1)
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(1045, "Access denied for user 'me' (c4n4ry)"), AccessError),
        (OSError(1792, "READ ONLY"), QueryError),
        (OSError(1969, "max_statement_time"), QueryTimeoutError),
        (OSError(3024, "max_execution_time"), QueryTimeoutError),
        (OSError(2013, "Lost connection"), DatabaseUnavailableError),
        (OSError(1064, "syntax"), QueryError),
        (OSError("no number"), QueryError),
        (OSError(), QueryError),
    ],
)
def test_error_of_mysql_is_translated_by_number(
    open_database: Open, error: Exception, kind: type[DatabaseError]
) -> None:
    found = translate_error(error, open_database("mysql://me:c4n4ry@host/shop").url)
    assert type(found) is kind
    assert "mysql://me:***@host/shop" in str(found)
    assert "c4n4ry" not in str(found)


def test_error_unreadable_value_is_query_error(
    open_database: Open, postgresql_database: Any
) -> None:
    reader = open_database(postgresql_database.url)
    with pytest.raises(QueryError, match="the query failed: timestamp too large"):
        ask(reader, "SELECT 'infinity'::timestamp")


def test_error_of_psycopg_without_a_state_is_query_error(open_database: Open) -> None:
    found = translate_error(TypeError("unknown"), open_database("postgresql://host").url)
    assert type(found) is QueryError
    assert "the query failed: unknown" in str(found)
