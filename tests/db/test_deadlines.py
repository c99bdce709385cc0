"""Deadline of a poll: no query, fetch or connection of a sensor goes on after it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import pytest
from flowstone_db import DatabaseChange, DatabaseRows, PostgresNotify
from flowstone_db.cut_off import CutOff
from flowstone_db.driver import connect_timeouts
from sqlalchemy import make_url

from flowstone_core import PollContext, Sensor
from flowstone_core.errors import PollTimeoutError
from tests.db.test_contract import ENDLESS

PATIENCE = 60.0


class SilentProxy:
    """A proxy of one server, which falls silent when it is told."""

    def __init__(self, upstream: Callable[[], socket.socket]) -> None:
        self.silent = threading.Event()
        self._upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = self._upstream()
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(data)


@pytest.fixture(params=["postgresql_database", "mariadb_database"])
def proxied(request: pytest.FixtureRequest) -> Iterator[tuple[SilentProxy, str, Any]]:
    """A proxy, the URL through it, and the database."""
    database = request.getfixturevalue(request.param)
    database.execute("CREATE TABLE orders (id INTEGER)")
    path = str(getattr(database, "socket", ""))
    if database.kind == "postgresql":
        parsed = make_url(database.url)
        path = f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}"

    def upstream() -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.connect(path)
        return found

    proxy = SilentProxy(upstream)
    url = f"mariadb://root@127.0.0.1:{proxy.port}/shop"
    if database.kind == "postgresql":
        through = parsed.set(host="127.0.0.1", port=proxy.port, query={})
        url = through.render_as_string(hide_password=False)
    yield proxy, url, database
    proxy.close()


def poll_ends(sensor: Sensor[Any, Any], seconds: float) -> BaseException | None:
    """Poll with a deadline, and return what is raised; the poll ends while there is patience."""
    raised: list[BaseException | None] = []

    def poll() -> None:
        try:
            with sensor.context.limited(seconds):
                sensor.poll(sensor.init())
        except BaseException as error:  # noqa: BLE001 - it is what the test asks for
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the poll went on after its deadline"
    return raised[0]


@pytest.mark.parametrize("connected", [True, False])
def test_S2_silent_server_ends_the_poll_at_its_deadline(
    proxied: tuple[SilentProxy, str, Any], connected: bool
) -> None:
    proxy, url, _ = proxied
    config = DatabaseChange.Config.model_validate(
        {"url": url, "query": "SELECT count(*) FROM orders", "timeout": "1h"}
    )
    before = set(threading.enumerate())
    with ExitStack() as stack:
        sensor = DatabaseChange(config, PollContext())  # type: ignore[arg-type]
        stack.callback(sensor.cleanup)
        if connected:
            assert poll_ends(sensor, PATIENCE) is None
        proxy.silent.set()
        error = poll_ends(sensor, 1.0)
        assert isinstance(error, PollTimeoutError), error
        proxy.silent.clear()
        assert poll_ends(sensor, PATIENCE) is None
    assert [each for each in set(threading.enumerate()) - before if "Timer" in each.name] == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_S2_endless_query_ends_at_the_deadline(request: pytest.FixtureRequest, kind: str) -> None:
    name = "sqlite_file" if kind == "sqlite" else f"{kind}_database"
    url = request.getfixturevalue(name).url
    query = f"SELECT count(*) AS n FROM ({ENDLESS[kind]}) AS x"  # noqa: S608
    config = DatabaseChange.Config.model_validate({"url": url, "query": query, "timeout": "1h"})
    sensor = DatabaseChange(config, PollContext())  # type: ignore[arg-type]
    assert isinstance(poll_ends(sensor, 1.0), PollTimeoutError)
    sensor.cleanup()


def test_S2_fetch_stops_between_chunks(
    database: Any, make_sensor: Callable[..., Any], clock: Any
) -> None:
    database.execute("CREATE TABLE t (id INTEGER)")
    values = ", ".join(f"({number})" for number in range(2000))
    database.execute(f"INSERT INTO t VALUES {values}")  # noqa: S608
    options = {"table": "t", "mode": "incrementing", "id_column": "id", "horizon": "clock"}
    options["timeout"] = "1h"
    read: list[Any] = []

    def partition_of(row: Any) -> str:
        read.append(row["id"])
        clock.seconds += 1
        return "all"

    sensor = make_sensor(DatabaseRows, url=database.url, partition_fn=partition_of, **options)
    with sensor.context.limited(700), pytest.raises(PollTimeoutError):
        sensor.poll(sensor.init())
    assert 700 <= len(read) <= 1500
    assert len(sensor.poll(sensor.init()).events) == 1


def test_S2_wait_for_a_notification_ends_before_the_deadline(
    postgresql_database: Any,
) -> None:
    config = PostgresNotify.Config.model_validate(
        {"url": postgresql_database.url, "channel": ["orders"], "wait": "1h"}
    )
    sensor = PostgresNotify(config, PollContext())  # type: ignore[arg-type]
    assert poll_ends(sensor, PATIENCE) is None
    assert poll_ends(sensor, 2.0) is None
    sensor.cleanup()


def test_S2_connect_timeouts_fit_into_the_poll() -> None:
    half = timedelta(seconds=30)
    assert connect_timeouts("sqlite", half, 4.5) == {"timeout": 4.5}
    assert connect_timeouts("postgresql", half, float("inf")) == {"connect_timeout": 10}
    assert connect_timeouts("mysql", half, float("inf")) == {
        "connect_timeout": 10,
        "read_timeout": 40,
    }
    assert connect_timeouts("mariadb", half, 0.0) == {"connect_timeout": 1, "read_timeout": 1}


def test_S2_cut_off_without_a_socket_does_nothing() -> None:
    cut_off = CutOff()
    cut_off.watch(object())
    with cut_off.after(1000):
        cut_off.forget()
    cut_off._shut_down()
