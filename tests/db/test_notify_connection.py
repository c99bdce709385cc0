"""Connection of `postgres_notify`: poolers, connect and cleanup."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flowstone_db import PostgresNotify, listener
from flowstone_db.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    QueryError,
)

from tests.db.notify_support import (
    Make,
    begin,
    notify,
    payloads,
)


def test_notify_connection_no_longer_listening_fails_poll(
    make_notify: Make, postgresql_database: Any
) -> None:
    """As behind a pooler that takes it away between transactions, and cleans it."""
    sensor = make_notify()
    state = begin(sensor)
    sensor._listener._raw.execute("UNLISTEN orders")
    sensor._listener._raw.commit()
    with pytest.raises(DatabaseError, match=r"no longer listens.*pool_mode = session"):
        sensor.poll(state)
    notify(postgresql_database, "1")
    assert payloads(sensor.poll(state)) == []
    notify(postgresql_database, "2")
    assert payloads(sensor.poll(state)) == ["2"]


class Pooler:
    """Stands between as PgBouncer does: it tells its clients of other backends than they have.

    Args:
        drops: Whether it drops notifications, as in mode transaction.
    """

    def __init__(self, folder: Path, server: str, *, drops: bool) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(folder / ".s.PGSQL.5432"))
        self.socket.listen()
        self._server = server
        self._drops = drops

    def serve(self) -> None:
        """Serve clients, one and then another, until the first of them goes."""
        with ExitStack() as stack:
            clients = [stack.enter_context(ThreadPoolExecutor(2)) for _ in range(2)]
            for pool in clients:
                client, _ = self.socket.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                pool.submit(self._answer, server, client)
                pool.submit(self._ask, server, client)

    @staticmethod
    def _ask(server: socket.socket, client: socket.socket) -> None:
        while data := client.recv(65536):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with server, client, server.makefile("rb") as stream:
            while kind := stream.read(1):
                size = stream.read(4)
                body = stream.read(int.from_bytes(size) - 4)
                if kind == b"K":
                    body = bytes(4) + body[4:]
                if kind != b"A" or not self._drops:
                    client.sendall(kind + size + body)


@pytest.fixture
def pooled(
    request: pytest.FixtureRequest, make_notify: Make, postgresql_database: Any
) -> Iterator[PostgresNotify]:
    """A sensor behind a pooler."""
    url = postgresql_database.url
    (host,) = re.findall("host=([^&]*)", url)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        pooler = Pooler(Path(folder), f"{host}/.s.PGSQL.5432", drops=request.param)
        serving = pool.submit(pooler.serve)
        sensor = make_notify(url=url.replace(host, folder))
        yield sensor
        sensor.cleanup()
        serving.result()
        pooler.socket.close()


@pytest.mark.parametrize("pooled", [False], indirect=True)
def test_notify_pooler_in_session_mode_is_accepted(
    pooled: PostgresNotify, postgresql_database: Any
) -> None:
    state = begin(pooled)
    notify(postgresql_database, "1")
    assert payloads(pooled.poll(state)) == ["1"]


@pytest.mark.parametrize("pooled", [True], indirect=True)
def test_notify_pooler_that_drops_is_detected(
    pooled: PostgresNotify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PROBE_SECONDS", 0.01)
    with pytest.raises(DatabaseError, match=r"a connection pooler drops.*= session"):
        pooled.poll(pooled.init())


def test_notify_connect_listens_and_checks_query(
    watch: Make, make_notify: Make, postgresql_database: Any
) -> None:
    make_notify().connect()
    watch().connect()
    watch(query="SELECT pg_sleep(3600)").connect()
    with pytest.raises(QueryError, match="the query failed"):
        watch(query="SELECT nothing FROM orders").connect()
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        watch(url="postgresql://me:c4n4ry@127.0.0.1:1/shop").connect()


def test_notify_cleanup_closes_all_connections(watch: Make, postgresql_database: Any) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowstone' "
        "AND datname = current_database()"
    )
    watch().cleanup()
    sensor = watch()
    begin(sensor)
    assert postgresql_database.execute(query) == [(2,)]
    sensor.cleanup()
    while postgresql_database.execute(query) != [(0,)]:
        """A backend ends when it has noticed."""
