"""PostgreSQL sessions: time-outs, poolers, encodings, and what the server says of itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.store import Store, postgresql_session
from flowstone_core.store.database import Database
from flowstone_core.store.driver_errors import diagnosis_of, store_error
from flowstone_core.store.store_url import parse_url
from tests.store.conftest import Driver

PATIENCE = 300


@pytest.fixture
def url(postgresql):
    with postgresql.database("migrated") as made:
        yield made


@pytest.fixture
def opened(url):
    opened = Database(parse_url(url))
    yield opened
    opened.close()


def show(connection, name):
    return connection.exec_driver_sql(f"SHOW {name}").scalar()


# -- time-outs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idle_in_transaction_session_timeout", "10s"),
        ("statement_timeout", "30s"),
        ("transaction_isolation", "read committed"),
        ("timezone", "UTC"),
        ("client_encoding", "UTF8"),
    ],
)
def test_S3_each_transaction_has_its_own_settings(opened, name, value):
    for use in (opened.read, opened.write):
        assert use(show, name) == value


def test_S3_locks_of_a_session_that_vanished_are_released(url, opened, monkeypatch):
    monkeypatch.setitem(postgresql_session.SETTINGS, "idle_in_transaction_session_timeout", "200ms")
    vanished = Database(parse_url(url))
    locked, told = threading.Event(), threading.Event()

    def hold(connection):
        connection.exec_driver_sql("UPDATE flowstone_schema SET version_num = version_num")
        locked.set()
        told.wait(PATIENCE)
        connection.exec_driver_sql("SELECT 1")

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(vanished.write, hold)
        assert locked.wait(PATIENCE)
        # Waits for the lock until the server ends the other session.
        opened.write(
            lambda connection: connection.exec_driver_sql(
                "UPDATE flowstone_schema SET version_num = version_num"
            )
        )
        told.set()
        with pytest.raises(StoreUnavailableError, match="idle-in-transaction timeout"):
            held.result()
    vanished.close()


def test_S3_a_statement_that_takes_too_long_is_unavailable(url, monkeypatch):
    monkeypatch.setitem(postgresql_session.SETTINGS, "statement_timeout", "20ms")
    opened = Database(parse_url(url))
    with pytest.raises(StoreUnavailableError, match=r"statement timeout.*took too long"):
        opened.read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)"))
    # A migration and a check take as long as they need.
    Store.upgrade(url)
    assert Store.check(url).problems == ()
    opened.close()


def test_S3_a_time_out_in_the_url_is_kept(url):
    opened = Database(parse_url(f"{url}&options=-cstatement_timeout%3D7s"))
    assert opened.read(show, "statement_timeout") == "7s"
    assert opened.read(show, "idle_in_transaction_session_timeout") == "10s"
    opened.close()


INSTANTS = [
    "infinity",
    "-infinity",
    "0044-03-15 12:00:00+00 BC",
    "0001-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00",
    "10000-01-01 00:00:00+00",
]


def test_instants_are_read_whatever_the_settings_in_the_url(url):
    options = "-cdatestyle%3DGerman%20-ctimezone%3DAsia/Tokyo"
    opened = Database(parse_url(f"{url}&options={options}"))
    query = text("SELECT CAST(unnest(CAST(:texts AS text[])) AS timestamptz)")
    found = opened.read(lambda connection: connection.scalars(query, {"texts": INSTANTS}).all())
    opened.close()
    first, last = (datetime.fromisoformat(each) for each in INSTANTS[3:5])
    assert found == [*INSTANTS[:3], first, last, INSTANTS[5]]


def test_S4_a_connection_without_answers_ends_within_ten_seconds(opened):
    with opened._engine.connect() as connection:
        options = connection.connection.dbapi_connection.info.get_parameters()
    assert options["tcp_user_timeout"] == "10000"
    idle, interval, count = (
        int(options[f"keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 10


def test_S4_time_outs_of_a_connection_in_the_url_are_kept(url):
    args = postgresql_session.connect_args(parse_url(f"{url}&tcp_user_timeout=5000"))
    assert "tcp_user_timeout" not in args
    assert args["keepalives_idle"] == "5"


# -- poolers ---------------------------------------------------------------------------------------


def test_S11_nothing_is_prepared_on_the_server(opened):
    def ask(connection):
        for _ in range(20):
            connection.execute(text("SELECT :n"), {"n": 1})
        return connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar()

    assert [opened.read(ask) for _ in range(3)] == [0, 0, 0]


def test_S11_no_setting_outlasts_its_transaction(opened):
    opened.write(show, "timezone")
    with opened._engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        changed = raw.execute(
            "SELECT name FROM pg_settings WHERE source = 'session' AND name = ANY(%s)",
            [list(postgresql_session.SETTINGS)],
        ).fetchall()
        options = raw.info.get_parameters().get("options")
    assert changed == []
    assert options is None  # PgBouncer refuses it


def test_S11_a_store_works_when_each_transaction_has_another_session(url):
    """A pooler in transaction mode: what is left in a session is gone before the next use."""
    store = Store.open(url)
    engine = store._database._engine

    @event.listens_for(engine, "checkout")
    def _another(connection, *_):
        connection.execute("DISCARD ALL")

    bench = Driver(store)
    for number in range(20):
        bench.ask("alone", f"p{number}")
        bench.complete(*bench.claim().claims)
        assert bench.get(number + 1).requested_at == bench.now
    store.close()


# -- encodings and formats -------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_S12_a_database_in_another_encoding_is_refused(postgresql, encoding):
    name = f"other_{encoding.lower()}"
    postgresql.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    try:
        for use in (Store.open, Store.upgrade):
            with pytest.raises(StoreError, match=f"encoding {encoding} of.*must be UTF8") as caught:
                use(postgresql.url(name))
            assert caught.value.retryable is False
            assert f"createdb --encoding=UTF8 --template=template0 {name}" in str(caught.value)
    finally:
        postgresql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "setting",
    [
        "datestyle = 'German'",
        "datestyle = 'SQL, DMY'",
        "datestyle = 'Postgres'",
        "timezone = 'Asia/Kathmandu'",
        "intervalstyle = 'iso_8601'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "default_transaction_isolation = 'serializable'",
        "bytea_output = 'escape'",
        "extra_float_digits = -5",
    ],
)
def test_S12_settings_of_the_database_change_nothing(url, postgresql, setting):
    name = parse_url(url).database
    postgresql.execute(f"ALTER DATABASE {name} SET {setting}")
    store = Store.open(url)
    bench = Driver(store)
    asked = bench.ask("orders", "Überfahrt \\' \U0001f6a2", {"k": "ä\\n"})
    bench.complete(*bench.claim().claims)
    found = bench.get(asked.id)
    assert found.requested_at == found.finished_at == bench.now
    assert (
        found.requested_at.tzinfo is UTC or found.requested_at.utcoffset() == bench.now.utcoffset()
    )
    assert found.partition == "Überfahrt \\' \U0001f6a2"
    assert store.materializations.events(asked.id)[0].payload == {"k": "ä\\n"}
    store.close()
    assert Store.check(url).problems == ()


# -- what the server says --------------------------------------------------------------------------

TRANSIENT = [
    *("08000", "08001", "08003", "08004", "08006", "08007", "08P01"),
    *("53000", "53100", "53200", "53300", "53400"),
    *("57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05"),
    *("58000", "58030", "25006", "25P03", "25P04", "40001", "40P01", "55P03"),
]


def failure(code="", message="connection failed"):
    """Return what SQLAlchemy raises for an error of the server."""
    kind = (
        psycopg.errors.lookup(code)
        if code in psycopg.errors._sqlcodes
        else psycopg.OperationalError
    )
    cause = kind(message)
    cause.sqlstate = code or None
    return OperationalError("SELECT 1", {}, cause)


@pytest.mark.parametrize("code", TRANSIENT)
def test_R5_codes_of_a_passing_state_are_unavailable(code):
    assert isinstance(store_error(failure(code), "the-url"), StoreUnavailableError)


@pytest.mark.parametrize("code", ["22021", "23503", "XX000", "0A000", "42703"])
def test_R5_codes_that_waiting_does_not_mend_are_permanent(code):
    found = store_error(failure(code), "the-url")
    assert type(found) is StoreError


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("the database system is starting up", "starting up"),
        ("the database system is shutting down", "starting up, stopping"),
        ("the database system is in recovery mode", "recovering"),
        ("the database system is not yet accepting connections", "starting up"),
        ("the database system is not accepting connections", "starting up"),
        ("sorry, too many clients already", "max_connections"),
        ('too many connections for role "shop"', "max_connections"),
        ("remaining connection slots are reserved for roles with SUPERUSER", "max_connections"),
        ("no more connections allowed (max_client_conn)", "running and reachable"),
        ("server login has been failing, try again later", "running and reachable"),
    ],
)
def test_R5_refusals_of_a_passing_state_are_unavailable(said, hint):
    told = f'connection failed: connection to server at "::1", port 5432 failed: FATAL:  {said}'
    found = store_error(failure(message=told), "the-url")
    assert isinstance(found, StoreUnavailableError)
    assert str(found).startswith(f"the store the-url: {said} (")
    assert hint in str(found)


@pytest.mark.parametrize(
    "said",
    [
        'database "shop" does not exist',
        'role "shop" does not exist',
        'password authentication failed for user "shop"',
        'no pg_hba.conf entry for host "::1", user "shop", database "shop", no encryption',
        "fe_sendauth: no password supplied",
    ],
)
def test_N20_refusals_of_a_wrong_url_end_a_start_and_pause_a_runner(said):
    error = failure(message=f'connection to server at "::1", port 5432 failed: FATAL:  {said}')
    found = store_error(error, "the-url")
    assert isinstance(found, StoreUnavailableError)
    assert diagnosis_of(found).misconfigured


def test_N20_a_missing_database_is_named_at_the_start(postgresql):
    for use in (Store.open, Store.upgrade):
        with pytest.raises(StoreError) as caught:
            use(postgresql.url("nowhere"))
        assert type(caught.value) is StoreError
        assert 'database "nowhere" does not exist (create it with createdb' in str(caught.value)
        assert "reachable" not in str(caught.value)


def test_N20_a_missing_role_is_named_at_the_start(postgresql):
    with pytest.raises(StoreError, match='role "nobody-here" does not exist') as caught:
        Store.open(postgresql.url("migrated").replace("postgres:@", "nobody-here@"))
    assert "pg_hba.conf" in str(caught.value)
    assert caught.value.retryable is False


def test_R5_a_server_with_all_connections_in_use_is_unavailable(postgresql, url):
    name = parse_url(url).database
    postgresql.execute("CREATE ROLE shop LOGIN", f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    try:
        with pytest.raises(StoreUnavailableError, match=r"too many connections.*max_connections"):
            Store.open(url.replace("postgres:@", "shop@"))
    finally:
        postgresql.execute("DROP ROLE shop")
