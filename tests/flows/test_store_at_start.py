"""Commands that are started while the store cannot be used: they wait, and then do their work."""

from __future__ import annotations

import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import SensorRepository, Store
from tests import forked
from tests.processes import kill_all, read_until

PATIENCE = 120

PIPELINE = """
from flowstone_core import NotTriggered, Pipeline, function_sensor
pipeline = Pipeline("shop")
@pipeline.asset
def orders(context):
    pass
"""


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "shop.py").write_text(PIPELINE)

    def start(self, store: str, *command: str, wait: str = "5m") -> subprocess.Popen[str]:
        (self.folder / "setup.cfg").write_text(
            f"[flowstone]\nstore = {store}\npipelines = shop:pipeline\nstore_wait = {wait}\n"
        )
        words = [sys.executable, "-m", "flowstone_core", *command]
        env = {"PYTHONPATH": str(self.folder), "PATH": ""}
        pipe = subprocess.PIPE
        process = forked.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=env)
        self.processes.append(process)
        return process


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    kill_all(shop.processes)


def test_R4_commands_wait_for_a_locked_file(shop: Shop, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    Store.open(url).close()
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        running = shop.start(url, "run")
        asking = shop.start(url, "materialize", "orders", "eu")
        line = read_until(running.stderr, "store unavailable; trying again every second")
        assert "limit=5m" in line
        read_until(asking.stderr, "store unavailable; trying again every second")
        other.execute("ROLLBACK")
    assert asking.wait(PATIENCE) == 0
    read_until(running.stderr, "state=completed")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 0
    with closing(Store.open(url)) as store:
        (made,) = store.materializations.latest()
        assert len(store.events.latest()) == 1
    assert made.state is MaterializationState.COMPLETED


def test_R4_run_gives_up_after_store_wait(shop: Shop) -> None:
    refused = "postgresql://nobody@127.0.0.1:1/shop?connect_timeout=2"
    running = shop.start(refused, "run", wait="1s")
    _, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert "limit=1s" in errors
    assert "gave up after 1s" in errors
    assert "Traceback" not in errors


def test_R4_run_that_waits_ends_on_request(shop: Shop, tmp_path: Path) -> None:
    refused = "postgresql://nobody@127.0.0.1:1/shop?connect_timeout=2"
    running = shop.start(refused, "run")
    read_until(running.stderr, "store unavailable; trying again every second")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) in {0, -signal.SIGTERM}


class Recovering(threading.Thread):
    """A server that is starting up, until it passes connections on to the real one."""

    def __init__(self, upstream: str) -> None:
        super().__init__(daemon=True)
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.ready = False
        self._sockets = [self._listener]

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                deed = self._pass_on if self.ready else self._refuse
                threading.Thread(target=deed, args=(client,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept
        self.join(PATIENCE)
        for each in self._sockets:
            each.close()

    @staticmethod
    def _refuse(client: socket.socket) -> None:
        fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
        with client:
            length, code = struct.unpack("!II", client.recv(8))
            while code in {80877103, 80877104}:  # asks for encryption first
                client.sendall(b"N")
                length, code = struct.unpack("!II", client.recv(8))
            client.recv(length - 8)
            client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        self._sockets.append(server)
        server.connect(self._upstream)
        threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
        self._copy(client, server)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_R5_run_waits_for_a_server_that_is_starting_up(shop: Shop, store_url: str) -> None:
    found = urlsplit(store_url)
    folder = parse_qs(found.query)["host"][0]
    server = Recovering(f"{folder}/.s.PGSQL.5432")
    server.start()
    url = f"postgresql://{found.username}@127.0.0.1:{server.port}{found.path}"
    running = shop.start(url, "run")
    line = read_until(running.stderr, "store unavailable; trying again every second")
    assert "the database system is starting up" in line
    server.ready = True
    assert "store available" in read_until(running.stderr, "store available")
    read_until(running.stderr, "runner started")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 0
    server.close()


@pytest.mark.parametrize("once", [True, False])
def test_S15_run_pauses_if_the_store_is_lost_after_its_start(
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    once: bool,
) -> None:
    caplog.set_level("INFO", "flowstone")
    declare, errors = SensorRepository.declare, [StoreUnavailableError("disk full")] * 2

    def full(*arguments: object) -> None:
        if errors:
            raise errors.pop()
        declare(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(SensorRepository, "declare", full)
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)

    class Stopping(Sensor[SensorConfig, object]):
        def init(self) -> object:
            return None

        def poll(self, state: object) -> NotTriggered[object]:
            flow.stop()
            return NotTriggered(state)

    pipeline.sensor("feed", Stopping, asset="orders")
    with Flowstone(pipeline, store=store_url) as flow:
        assert flow.run(once=once)
        (tick,) = flow.ticks()
    assert tick.outcome.good
    said = [record.getMessage() for record in caplog.records]
    begun, over = {
        True: ("store unavailable; trying again every second", "store available"),
        False: (
            "store unavailable; polling paused until a write succeeds",
            "store available again; polling resumed",
        ),
    }[once]
    assert said.index("runner started") < said.index(begun) < said.index(over)


def test_S15_pause_at_the_start_ends_with_the_duration(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [StoreUnavailableError("disk full")] * 3

    def full(*arguments: object) -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(SensorRepository, "declare", full)
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    with Flowstone(pipeline, store=store_url) as flow:
        assert flow.run(duration=timedelta(0))
    assert len(errors) == 2
