"""Backups of SQLite stores: whole, of one moment, beside writers, and never in the way."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from flowstone_core.errors import ConflictError, StoreError
from flowstone_core.store import Store, backup, migration


@pytest.fixture
def backend():
    """Not both: PostgreSQL has backups of its own."""
    return "sqlite"


@pytest.fixture
def folder(tmp_path):
    """Where backups go: a folder with nothing in it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def test_a_backup_has_all_that_is_committed_and_is_one_file(bench, store_url, folder):
    bench.make("alone", "p")
    path = folder / "flowstone.db"
    made = Store.back_up(store_url, path)
    assert made == backup.Backup(path, path.stat().st_size, migration.HEAD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [path]
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    copied = Store.open(f"sqlite:///{path}", migrate=False)
    assert copied.materializations.latest() == bench.store.materializations.latest()
    assert copied.sensors.all() == bench.store.sensors.all()
    copied.close()


def test_restored_backup_has_the_rows_of_its_time(bench, store_url, folder):
    bench.fire(bench.event("before", "alone"))
    path, place = folder / "flowstone.db", Path(store_url.removeprefix("sqlite:///"))
    Store.back_up(store_url, path)
    bench.fire(bench.event("after", "alone"))
    bench.store.close()
    for each in place.parent.glob(f"{place.name}*"):
        each.unlink()
    shutil.move(path, place)
    restored = Store.open(store_url)
    assert [event.key for event in restored.events.latest()] == ["before"]
    assert restored.sensors.get("feed").checkpoint.version == 1
    restored.close()
    assert Store.check(store_url).problems == ()


def test_backup_during_writes_is_a_consistent_snapshot(bench, store_url, folder, monkeypatch):
    monkeypatch.setattr(backup, "STEP", 1)
    bench.fire(*(bench.event(f"k{number}", "alone", f"p{number}") for number in range(200)))
    over, written, failures = threading.Event(), threading.Semaphore(0), []

    def write():
        try:
            number = 0
            while not over.is_set():
                number += 1
                bench.fire(bench.event(f"meanwhile {number}", "alone", f"p{number}"))
                written.release()
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            path = folder / f"{number}.db"
            Store.back_up(store_url, path)
            # Somebody wrote while it was made, or right after it, and was not kept from it.
            assert written.acquire(timeout=300)
            assert Store.check(f"sqlite:///{path}").problems == ()
    finally:
        over.set()
        thread.join()
    assert failures == []
    counts = []
    for number in range(5):
        copied = Store.open(f"sqlite:///{folder / f'{number}.db'}")
        events, version = (
            copied.events.latest(limit=100_000),
            copied.sensors.get("feed").checkpoint.version,
        )
        # The state and the events are of the same moment.
        assert len(events) == 200 + version - 1
        counts.append(version)
        copied.close()
    assert counts == sorted(counts)


def test_backup_leaves_out_rows_written_meanwhile(bench, store_url, folder, monkeypatch):
    bench.fire(*(bench.event(f"k{number}", "alone", f"p{number}") for number in range(200)))
    monkeypatch.setattr(backup, "STEP", 1)
    connect = sqlite3.connect

    def connect_after_a_write(*arguments, **options):
        # The copy is opened when the moment of the backup has been chosen.
        monkeypatch.setattr(sqlite3, "connect", connect)
        bench.fire(bench.event("too late", "alone", "p"))
        return connect(*arguments, **options)

    source = backup.source_of

    def source_and_watch(database):
        found = source(database)
        monkeypatch.setattr(backup.sqlite3, "connect", connect_after_a_write)
        return found

    # This one has its connection already, so the next file to be opened is the copy.
    monkeypatch.setattr(backup, "source_of", source_and_watch)
    backup.back_up(bench.store._database, folder / "one.db", overwrite=False)
    copied = Store.open(f"sqlite:///{folder / 'one.db'}")
    assert len(copied.events.latest(limit=1_000)) == 200
    copied.close()
    assert len(bench.store.events.latest(limit=1_000)) == 201


def test_a_store_of_an_older_revision_is_copied_as_it_is(tmp_path, folder, monkeypatch):
    url = f"sqlite:///{tmp_path / 'old.db'}"
    monkeypatch.setattr(migration, "HEAD", "0001")
    Store.open(url).close()
    monkeypatch.undo()
    assert Store.back_up(url, folder / "old.db").revision == "0001"
    assert Store.upgrade(url) == ("0001", migration.HEAD)


# -- refused ---------------------------------------------------------------------------------------


def refused(url, path, match, *, overwrite=False, kind=ConflictError):
    before = {each: each.read_bytes() for each in path.parent.glob("*") if each.is_file()}
    with pytest.raises(kind, match=match):
        Store.back_up(url, path, overwrite=overwrite)
    assert {each: each.read_bytes() for each in path.parent.glob("*") if each.is_file()} == before


@pytest.mark.usefixtures("bench")
def test_backup_overwrites_a_file_only_on_request(store_url, folder):
    path = folder / "flowstone.db"
    path.write_text("precious")
    refused(store_url, path, r"already exists; it was not changed \(--force overwrites it\)")
    Store.back_up(store_url, path, overwrite=True)
    assert Store.check(f"sqlite:///{path}").problems == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_store_itself_is_never_overwritten(store_url, tmp_path, overwrite):
    Store.open(store_url).close()
    path = Path(store_url.removeprefix("sqlite:///"))
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for each in (path, link):
        refused(store_url, each, "is the store itself", overwrite=overwrite)


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_name_that_a_log_lies_beside_is_refused(store_url, folder, suffix):
    (folder / f"flowstone.db{suffix}").write_text("somebody's")
    refused(store_url, folder / "flowstone.db", f"flowstone.db{suffix} exists", overwrite=True)


def test_a_folder_is_refused_and_a_missing_one_is_named(store_url, folder):
    refused(store_url, folder, "is a folder, not a file", overwrite=True)
    path = folder / "missing" / "flowstone.db"
    refused(store_url, path, r"does not exist \(make it: mkdir -p", kind=StoreError)


def test_where_there_is_no_store_there_is_no_backup(tmp_path, folder):
    path = folder / "backup.db"
    refused(f"sqlite:///{tmp_path / 'no.db'}", path, "store not found", kind=StoreError)
    refused("sqlite://", path, "in memory", kind=StoreError)
    (tmp_path / "theirs.db").write_bytes(b"x" * 600)
    match = "file is not a database.*restore a backup"
    refused(f"sqlite:///{tmp_path / 'theirs.db'}", path, match, kind=StoreError)
    assert not (tmp_path / "no.db").exists()


def test_backup_of_postgresql_is_refused_with_a_hint(postgresql, folder):
    refused(
        postgresql.url("migrated"),
        folder / "backup.db",
        r"must be in an SQLite file.*\(use pg_dump\)",
        kind=StoreError,
    )


def test_a_damaged_store_leaves_no_backup(bench, store_url, folder):
    bench.fire(*(bench.event(f"k{number}", "alone", f"p{number}") for number in range(300)))
    bench.store.close()
    place = Path(store_url.removeprefix("sqlite:///"))
    content = bytearray(place.read_bytes())
    pages = len(content) // 4_096
    for page in range(pages - 10, pages):
        content[page * 4_096 : page * 4_096 + 8] = b"\xff" * 8
    place.write_bytes(content)
    refused(store_url, folder / "backup.db", "failed its integrity check", kind=StoreError)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(store_url, folder, monkeypatch):
    connect = sqlite3.connect

    def connect_to_a_full_disk(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    source = backup.source_of

    def source_and_fill(database):
        found = source(database)
        database.read(lambda connection: None)
        monkeypatch.setattr(sqlite3, "connect", connect_to_a_full_disk)
        return found

    monkeypatch.setattr(backup, "source_of", source_and_fill)
    match = r"cannot write the backup .*: .*full"
    refused(store_url, folder / "backup.db", match, kind=StoreError)
    assert list(folder.iterdir()) == []


def test_backup_without_hard_links_is_published(store_url, folder, monkeypatch):
    path = folder / "flowstone.db"

    def no_links(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def no_links_and_somebody_was_first(source, target):
        path.write_text("precious")
        no_links(source, target)

    def somebody_was_first(source, target):
        path.write_text("precious")
        raise FileExistsError(errno.EEXIST, "File exists")

    for link in (no_links_and_somebody_was_first, somebody_was_first):
        monkeypatch.setattr(os, "link", link)
        with pytest.raises(ConflictError, match="already exists"):
            Store.back_up(store_url, path)
        assert path.read_text() == "precious"
        path.unlink()
    monkeypatch.setattr(os, "link", no_links)
    Store.back_up(store_url, path)
    assert list(folder.iterdir()) == [path]
