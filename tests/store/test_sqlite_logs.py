"""The logs beside an SQLite file: deleted, replaced, and renewed as they should be."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowstone_core.errors import StoreLostError
from flowstone_core.store import Store
from flowstone_core.store.sqlite_logs import SUFFIXES, LogFiles
from tests import forked
from tests.store.store_files import PATIENCE

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path, migrated_file):
    return Path(shutil.copyfile(migrated_file, tmp_path / "flowstone.db"))


@pytest.fixture
def store(path):
    store = Store.open(f"sqlite:///{path}")
    store.sensors.declare(["before"], NOW)
    yield store
    store.close()


def names(path):
    with closing(Store.open(f"sqlite:///{path}")) as store:
        return [sensor.name for sensor in store.sensors.all()]


@pytest.mark.parametrize("suffixes", [SUFFIXES, ("-wal",), ("-shm",)])
def test_S10_deleted_logs_are_noticed_and_nothing_is_lost(store, path, suffixes):
    told = []
    store.when_lost(told.append)
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()
    for use in (store.sensors.all, lambda: store.sensors.declare(["after"], NOW)):
        with pytest.raises(StoreLostError, match=r"the log .*db-\w+ of the store was deleted"):
            use()
    assert len(told) == 2
    assert "never delete a log in use" in str(told[0])
    # What was committed before is written into the file when the last connection is closed.
    store.close()
    assert names(path) == ["before"]


def test_S10_a_log_replaced_by_another_process_is_noticed(store, path):
    for suffix in SUFFIXES:
        Path(f"{path}{suffix}").unlink()
    made = forked.run([sys.executable, "-c", OTHER, path], timeout=PATIENCE)
    assert made.returncode == 0
    with pytest.raises(StoreLostError, match="was replaced by another file"):
        store.sensors.all()


OTHER = """
import os, sqlite3, sys
other = sqlite3.connect(sys.argv[1])
other.execute("SELECT * FROM flowstone_sensors").fetchall()
os._exit(0)
"""
"""Opens the store and dies, so that its logs stay."""


def test_S10_a_log_deleted_in_a_transaction_is_noticed_at_its_end(store, path):
    def write(connection):
        connection.exec_driver_sql("DELETE FROM flowstone_sensors")
        Path(f"{path}-wal").unlink()

    with pytest.raises(StoreLostError, match="db-wal of the store was deleted"):
        store._database.write(write)


def test_S10_logs_that_sqlite_renews_are_no_loss(store, path):
    store.close()
    assert not any(Path(f"{path}{suffix}").exists() for suffix in SUFFIXES)
    assert [sensor.name for sensor in store.sensors.all()] == ["before"]
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert len(store.sensors.all()) == 1


def test_S10_connections_that_come_and_go_are_no_loss(path):
    store = Store.open(f"sqlite:///{path}")
    engine = store._database._engine
    ended = threading.Event()

    def renew():
        while not ended.is_set():
            engine.dispose()

    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(renew)
        try:
            for number in range(100):
                store.sensors.declare([f"sensor-{number}"], NOW)
        finally:
            ended.set()
        renewing.result()
    assert len(store.sensors.all()) == 100
    store.close()


def test_S10_last_connection_closed_meanwhile_is_no_loss(tmp_path, monkeypatch):
    logs = LogFiles(tmp_path / "flowstone.db")
    with closing(sqlite3.connect(":memory:")) as connection:
        logs.opened(connection)
        found = []

        def stat(path):
            if not found:
                logs.closing(connection)
            found.append(path)
            return 1, 2

        monkeypatch.setattr("flowstone_core.store.sqlite_logs.identity", stat)
        assert logs.lost() is None
        assert len(found) == len(SUFFIXES)
        assert logs.lost() is None


def test_S10_a_file_system_without_a_log_is_not_watched(tmp_path, migrated_file, monkeypatch):
    path = shutil.copyfile(migrated_file, tmp_path / "flowstone.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        # A transaction of another connection keeps the mode as it is.
        holder.execute("PRAGMA journal_mode = DELETE")
        connect = sqlite3.connect

        class Rollback(sqlite3.Connection):
            def execute(self, sql, *args):
                return super().execute(sql.replace("= WAL", "= DELETE"), *args)

        monkeypatch.setattr(
            sqlite3,
            "connect",
            lambda *args, **kwargs: connect(*args, **kwargs | {"factory": Rollback}),
        )
        monkeypatch.setattr(sqlite3.dbapi2, "connect", sqlite3.connect)
        store = Store.open(f"sqlite:///{path}")
        store.sensors.declare(["feed"], NOW)
        assert not Path(f"{path}-wal").exists()
        assert len(store.sensors.all()) == 1
        store.close()


def test_S10_an_orphaned_log_is_never_told_to_be_deleted(store, path):
    log = Path(f"{path}-wal").read_bytes()
    store.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes(log)
    with pytest.raises(Exception, match="stop its runners; then put the file back") as caught:
        Store.open(f"sqlite:///{path}")
    assert "rm " not in str(caught.value)
    assert f"mv {path}-wal {path}-wal.old" in str(caught.value)
