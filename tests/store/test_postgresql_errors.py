"""What is said of PostgreSQL and its connections: one line, in words, with what to do."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.store import Store, postgresql_session
from flowstone_core.store.database import Database
from flowstone_core.store.driver_errors import store_error
from flowstone_core.store.postgresql_errors import diagnose
from flowstone_core.store.sql_engines import MOST_CONNECTIONS
from flowstone_core.store.store_url import parse_url
from tests.processes import until
from tests.tcp_proxy import TcpProxy


@pytest.fixture
def url(postgresql):
    with postgresql.database("migrated") as made:
        yield made


@pytest.fixture
def opened(url):
    with closing(Database(parse_url(url))) as opened:
        yield opened


@pytest.fixture
def proxy(postgresql):
    with closing(TcpProxy(Path(postgresql.folder, ".s.PGSQL.5432"))) as proxy:
        yield proxy


def one(connection):
    return connection.exec_driver_sql("SELECT 1").scalar()


# -- connections that fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("a@127.0.0.1:1/x", "connection refused (is PostgreSQL running and reachable?)"),
        ("/x?host=/nowhere", "no server at the socket (is PostgreSQL running and reachable?)"),
    ],
)
def test_D12_server_that_is_not_there_is_told_in_words(address, text):
    with pytest.raises(StoreUnavailableError) as caught:
        Store.open(f"postgresql://{address}")
    assert str(caught.value).endswith(f": {text}")
    assert "\n" not in str(caught.value)


def test_D12_server_that_accepts_and_is_silent_is_given_up():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StoreUnavailableError, match=": no answer in time"):
            Store.open(f"postgresql://a@127.0.0.1:{port}/x?connect_timeout=1")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("nonsense=1", 'invalid connection option "nonsense"'),
        ("sslmode=perhaps", 'invalid sslmode value: "perhaps"'),
        ("connect_timeout=soon", "bad value for connect_timeout"),
        ("target_session_attrs=best", "invalid target_session_attrs value"),
    ],
)
def test_invalid_option_in_the_url_ends_a_start(url, query, text):
    with pytest.raises(StoreError) as caught:
        Store.open(f"{url}&{query}")
    assert type(caught.value) is StoreError
    assert text in str(caught.value)
    assert "correct the query of the store's URL" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("server does not support SSL, but SSL was required", "TLS unavailable"),
        ("SSL error: certificate verify failed", "invalid certificate"),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", "unknown host"),
        ("connection failed: No route to host", "host unreachable"),
        ("could not receive data from server: Connection timed out", "no answer in time"),
        ("SSL connection has been closed unexpectedly", "connection lost"),
        (
            "All failures were:\n- host: 'a': refused\n- host: 'b': session is read-only",
            "no host takes writes",
        ),
        ("something new\nwith lines", "something new"),
    ],
)
def test_failures_on_this_side_are_told_in_words(said, text):
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError(said))
    found = store_error(error, "the-url")
    assert isinstance(found, StoreUnavailableError)
    assert str(found).startswith(f"the store the-url: {text}")
    assert "\n" not in str(found)


def test_errors_of_statements_without_a_remedy_are_permanent():
    assert diagnose(psycopg.ProgrammingError("the query has 0 placeholders")).transient is False


# -- connections that are lost ---------------------------------------------------------------------


def tcp(proxy, url):
    return parse_url(f"postgresql://postgres@127.0.0.1:{proxy.port}/{parse_url(url).database}")


def test_D12_connection_that_is_reset_is_replaced(url, proxy):
    with closing(Database(tcp(proxy, url))) as database:
        assert database.read(one) == 1

        def cut(connection):
            proxy.cut()
            return one(connection)

        with pytest.raises(StoreUnavailableError, match=r": connection lost \(is PostgreSQL"):
            database.read(cut)
        assert database.read(one) == 1
        proxy.cut()  # while nobody uses it
        assert database.read(one) == 1


def test_D12_statement_without_an_answer_is_given_up(url, proxy, monkeypatch):
    """A proxy that lives acknowledges all, and nothing behind it answers."""
    monkeypatch.setattr(postgresql_session, "ANSWER_SECONDS", 0.3)
    with closing(Database(tcp(proxy, url))) as database:
        assert database.read(one) == 1

        def vanish(connection):
            proxy.swallow()
            return one(connection)

        with pytest.raises(StoreUnavailableError, match=": no answer in time"):
            database.read(vanish)
        proxy.pass_on()
        assert database.read(one) == 1


def test_D12_long_statement_is_waited_for_where_that_is_allowed(opened, monkeypatch):
    monkeypatch.setattr(postgresql_session, "ANSWER_SECONDS", 0.1)

    def long(connection):
        postgresql_session.allow_long_statements(connection)
        return connection.exec_driver_sql("SELECT 1 FROM pg_sleep(0.5)").scalar()

    with closing(Database(opened.url)) as patient:
        assert patient.read(long) == 1
        with pytest.raises(StoreUnavailableError, match=": no answer in time"):
            patient.read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)"))


def test_D12_limit_of_the_url_lifts_that_of_the_answer(url):
    assert postgresql_session.answer_limit(parse_url(url)) == postgresql_session.ANSWER_SECONDS
    longer = parse_url(f"{url}&options=-cstatement_timeout%3D5min")
    assert postgresql_session.answer_limit(longer) is None


# -- too many, and read-only -----------------------------------------------------------------------


def test_D13_process_uses_at_most_ten_connections(url, opened):
    held = threading.Event()
    inside = []

    def hold(connection):
        inside.append(one(connection))
        held.wait(300)

    threads = [threading.Thread(target=opened.read, args=(hold,)) for _ in range(15)]
    for thread in threads:
        thread.start()
    until(lambda: len(inside) == MOST_CONNECTIONS == 10)
    with psycopg.connect(url) as other:
        names = other.execute(
            "SELECT application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'flowstone:%'"
        ).fetchall()
    held.set()
    for thread in threads:
        thread.join()
    assert len(names) == 10
    assert len(inside) == 15
    assert names[0][0].endswith(f"@{socket.gethostname()}"[: 63 - 20])


def test_D13_process_without_a_free_connection_says_so(opened):
    opened._engine.pool._timeout = 0.05
    held, inside = threading.Event(), []

    def hold(connection):
        inside.append(one(connection))
        held.wait(300)

    threads = [threading.Thread(target=opened.read, args=(hold,)) for _ in range(MOST_CONNECTIONS)]
    for thread in threads:
        thread.start()
    until(lambda: len(inside) == MOST_CONNECTIONS)
    with pytest.raises(StoreUnavailableError, match=r"no free connection.*pg_stat_activity"):
        opened.read(one)
    held.set()
    for thread in threads:
        thread.join()


def test_D13_connections_to_a_read_only_server_are_not_used_again(url, opened, postgresql):
    """After a failover the name of the server may lead to another one."""

    def pid(connection):
        connection.exec_driver_sql("UPDATE flowstone_schema SET version_num = version_num")
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()

    first = opened.write(pid)
    name = parse_url(url).database
    postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert opened.write(pid) == first  # an old session is as it was
    opened.close()
    with pytest.raises(StoreUnavailableError, match=r"read-only transaction.*target_session_attrs"):
        opened.write(pid)
    postgresql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert opened.write(pid) != first
