"""Refused stores: newer, foreign, damaged or unwritable ones are left unchanged."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowstone_core.errors import StoreError
from flowstone_core.store import Store, migration, schema
from tests import forked
from tests.store.store_files import PATIENCE, run


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# -- refused, and left as it was -------------------------------------------------------------------


def test_D6_a_newer_store_is_refused_with_both_revisions(own_store_url, backend, tmp_path):
    run(own_store_url, "UPDATE flowstone_schema SET version_num = '9999'")
    before = digests(tmp_path)
    for use in (Store.open, Store.upgrade):
        with pytest.raises(
            StoreError, match=rf"revision 9999; .* knows those up to {migration.HEAD}"
        ):
            use(own_store_url)
    assert digests(tmp_path) == before


def refused(path, match):
    """Have a file refused by all ways in, and its folder left as it was."""
    before = digests(path.parent)
    for use in (Store.open, Store.upgrade, lambda url: Store.open(url, migrate=False)):
        with pytest.raises(StoreError, match=match) as caught:
            use(f"sqlite:///{path}")
        assert caught.value.retryable is False
        assert str(path) in str(caught.value)
    assert digests(path.parent) == before


def test_another_programs_database_is_refused(tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (id)")
    refused(path, r"another program \(its tables: customers\); it was not touched")


def test_another_programs_database_with_a_write_ahead_log_is_refused(tmp_path):
    path = tmp_path / "theirs.db"
    script = (
        "import os, signal, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE customers (id)');"
        "c.commit(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    forked.run([sys.executable, "-c", script, path], timeout=PATIENCE)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("SELECT * FROM customers")  # its own readers change the shared index
    refused(path, "another program")


def test_empty_database_marked_by_another_program_is_refused(tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 42")
    refused(path, r"another program \(its tables: none\)")


def test_a_database_with_our_table_but_not_our_mark_is_refused(tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {schema.VERSION_TABLE} (version_num)")
    refused(path, "another program")


def test_empty_unmarked_database_becomes_a_store(tmp_path):
    path = tmp_path / "empty.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    assert path.stat().st_size > 0
    Store.open(f"sqlite:///{path}").close()


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", b"x" * 511])
def test_D5_file_too_short_for_a_database_is_refused(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    refused(path, r"is not an SQLite database; it was not touched")


@pytest.mark.parametrize("content", [b"x" * 512, b"hello, world\n" * 1_000])
def test_D5_file_that_is_not_a_database_is_refused(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    refused(path, r"file is not a database.*keep the file, and restore a backup")


def test_D5_a_damaged_store_is_refused(tmp_path, migrated_file):
    path = tmp_path / "flowstone.db"
    content = bytearray(migrated_file.read_bytes())
    content[100:4_000] = b"\xff" * 3_900
    path.write_bytes(content)
    refused(path, r"malformed.*keep the file, and restore a backup")


def test_D5_a_store_cut_short_is_refused(tmp_path, migrated_file):
    path = tmp_path / "flowstone.db"
    path.write_bytes(migrated_file.read_bytes()[:8_192])
    refused(path, r"malformed.*keep the file, and restore a backup")


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_D4_a_store_whose_log_alone_is_left_is_refused(tmp_path, suffix):
    path = tmp_path / "flowstone.db"
    store = Store.open(f"sqlite:///{path}")
    store.sensors.declare(["feed"], datetime(2025, 1, 1, tzinfo=UTC))
    log = (tmp_path / "flowstone.db-wal").read_bytes()
    store.close()
    path.unlink()
    (tmp_path / f"flowstone.db{suffix}").write_bytes(log)
    refused(path, rf"its log .*flowstone\.db{suffix} is.*put the file back")
    assert not path.exists()


def test_D7_beside_an_empty_file_an_old_log_is_nothing(tmp_path):
    path = tmp_path / "flowstone.db"
    other = Store.open(f"sqlite:///{tmp_path / 'other.db'}")
    other.sensors.declare(["feed"], datetime(2025, 1, 1, tzinfo=UTC))
    shutil.copy(tmp_path / "other.db-wal", tmp_path / "flowstone.db-wal")
    path.touch()
    store = Store.open(f"sqlite:///{path}")
    assert store.sensors.all() == []
    for each in (store, other):
        each.close()


def test_a_folder_is_refused(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(StoreError, match="folder is a folder, not a file"):
        Store.open(f"sqlite:///{path}")


def test_missing_folder_is_named_and_not_created(tmp_path):
    with pytest.raises(StoreError, match=r"does not exist \(make it: mkdir -p .*/missing\)"):
        Store.open(f"sqlite:///{tmp_path}/missing/flowstone.db")
    assert list(tmp_path.iterdir()) == []


def without_rights(url):
    """Open a store as somebody who has none of root's rights, and return what was printed."""
    done = forked.run(
        [sys.executable, "-c", OPEN, url],
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# Opened in memory first: what it imports may be in a folder that only root can read.
OPEN = """
import os, sys
from flowstone_core.errors import StoreError
from flowstone_core.store import Store
Store.open("sqlite://").close()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Store.open(sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.fixture
def public_folder():
    """A folder that anybody can enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="flowstone-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_D3_a_folder_that_cannot_be_written_is_named(public_folder):
    public_folder.chmod(0o555)
    told = without_rights(f"sqlite:///{public_folder}/flowstone.db")
    assert told.startswith(f"cannot write the folder {public_folder}")
    assert list(public_folder.iterdir()) == []


def test_D3_a_file_that_cannot_be_written_is_named(public_folder, migrated_file):
    path = public_folder / "flowstone.db"
    shutil.copyfile(migrated_file, path)
    path.chmod(0o444)
    before = digests(public_folder)
    told = without_rights(f"sqlite:///{path}")
    assert told.startswith(f"cannot write the file {path}")
    assert digests(public_folder) == before


def test_file_that_cannot_be_created_is_named():
    with pytest.raises(StoreError, match=r"cannot (create|write) the .*/proc"):
        Store.open("sqlite:////proc/flowstone.db")
