"""Migration: the schema, upgrades and new stores."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from flowstone_core.errors import StoreError
from flowstone_core.store import Store, migration, schema
from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url
from tests import forked
from tests.store.store_files import PATIENCE, run


@pytest.fixture
def empty_url(backend, request, tmp_path):
    """The URL of a database with nothing in it, not even a schema."""
    if backend == "sqlite":
        made = nullcontext(f"sqlite:///{tmp_path / 'new.db'}")
    else:
        made = request.getfixturevalue("postgresql").database()
    with made as url:
        yield url


# -- the schema ------------------------------------------------------------------------------------


@pytest.fixture
def migrated(own_store_url):
    database = Database(parse_url(own_store_url))
    yield database
    database.close()


def test_migrating_leads_to_exactly_the_tables_that_the_code_uses(migrated):
    def difference(connection):
        options = {
            "version_table": schema.VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, schema.metadata)

    assert migrated.read(difference) == []


def conditions(connection):
    """What Alembic does not compare: the conditions of partial indexes, and the checks."""
    indexes = "SELECT indexname, indexdef FROM pg_indexes"
    if connection.dialect.name == "sqlite":
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
    found = {
        name: sql.rpartition(" WHERE ")[2]
        for name, sql in connection.exec_driver_sql(indexes)
        if sql and " WHERE " in sql and "flowstone" in name
    }
    for table in schema.metadata.tables:
        for check in sa.inspect(connection).get_check_constraints(table):
            found[check["name"]] = check["sqltext"]
    return found


def test_migrating_leads_to_the_same_partial_indexes_and_checks(migrated):
    before = migrated.read(conditions)
    migrated.write(schema.metadata.drop_all)
    migrated.write(schema.metadata.create_all)
    assert migrated.read(conditions) == before
    assert len(before) == 15


def test_the_newest_revision_is_alembics_and_they_are_numbered_in_order():
    config = Config()
    config.set_main_option("script_location", "flowstone_core.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert scripts.get_heads() == [migration.HEAD]
    assert revisions == sorted(revisions)
    assert {len(revision) for revision in revisions} == {4}


def test_upgrading_makes_a_new_store_and_then_finds_nothing_to_do(empty_url):
    assert Store.upgrade(empty_url) == (None, migration.HEAD)
    assert Store.upgrade(empty_url) == (migration.HEAD, migration.HEAD)
    store = Store.open(empty_url, migrate=False)
    assert store.sensors.all() == []
    store.close()


def test_a_migration_that_fails_leaves_nothing_behind(empty_url):
    def refuse(connection, cursor, statement, *_):
        if "CREATE TABLE flowstone_attempts" in statement:
            raise RuntimeError("the plug is pulled")

    sa.event.listen(sa.Engine, "after_cursor_execute", refuse)
    try:
        with pytest.raises(RuntimeError, match="plug"):
            Store.upgrade(empty_url)
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", refuse)
    assert Store.upgrade(empty_url) == (None, migration.HEAD)


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from flowstone_core.store import Store

statements = 0

def kill(connection, cursor, statement, *_):
    global statements
    statements += statement.startswith(("CREATE", "ALTER", "INSERT", "UPDATE"))
    if statements == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.Engine, "after_cursor_execute", kill)
Store.upgrade(sys.argv[1])
"""


@pytest.mark.parametrize("statement", [1, 4, 12])
@pytest.mark.parametrize("before", [None, "0001"])
def test_K11_migration_killed_at_any_statement_is_completed_later(
    empty_url, monkeypatch, before, statement
):
    if before is not None:
        monkeypatch.setattr(migration, "HEAD", before)
        Store.open(empty_url, migrate=True).close()
        monkeypatch.undo()
    killed = forked.run([sys.executable, "-c", KILLED, empty_url, str(statement)], timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    assert Store.upgrade(empty_url) == (before, migration.HEAD)
    store = Store.open(empty_url)
    assert store.sensors.all() == []
    store.close()


UPGRADE = "import sys; from flowstone_core.store import Store; print(Store.upgrade(sys.argv[1])[0])"


def test_processes_that_upgrade_at_once_do_it_once(empty_url):
    running = [
        forked.Popen([sys.executable, "-c", UPGRADE, empty_url], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    befores = sorted(process.communicate()[0].decode().strip() for process in running)
    assert [process.returncode for process in running] == [0] * 4
    assert befores == [migration.HEAD] * 3 + ["None"]


def test_threads_that_open_at_once_all_get_in(empty_url):
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: Store.open(empty_url, migrate=True), range(8)))
    assert [store.sensors.all() for store in stores] == [[]] * 8
    for store in stores:
        store.close()


def test_threads_may_make_different_stores_at_once(tmp_path):
    urls = [f"sqlite:///{tmp_path / str(number)}.db" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Store.upgrade, urls)) == [(None, migration.HEAD)] * 8


# -- opening ---------------------------------------------------------------------------------------


def test_open_creates_sqlite_file_readable_by_owner_only(tmp_path):
    path = tmp_path / "flowstone.db"
    store = Store.open(f"sqlite:///{path}")
    modes = {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()}
    assert modes == {0o600}
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_changed_while_it_was_looked_at_is_looked_at_again(
    tmp_path, migrated_file, monkeypatch
):
    path, ours = tmp_path / "flowstone.db", tmp_path / "ours.db"
    shutil.copyfile(migrated_file, ours)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE half_made (id)")
    connect = sqlite3.connect

    def connect_and_replace(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA application_id").fetchone()  # it opens the file only now
        monkeypatch.setattr(sqlite3, "connect", connect)
        ours.replace(path)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_replace)
    with closing(Store.open(f"sqlite:///{path}", migrate=False)) as store:
        assert store.sensors.all() == []
    assert not ours.exists()  # it was replaced in the middle


def test_open_without_hard_links_creates_store_in_place(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "flowstone.db"
    assert Store.upgrade(f"sqlite:///{path}") == (None, migration.HEAD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_make_a_store_the_second_takes_that_of_the_first(tmp_path, monkeypatch):
    path = tmp_path / "flowstone.db"
    link = os.link

    def link_second(source, target):
        monkeypatch.setattr(os, "link", link)
        Store.open(f"sqlite:///{path}").close()
        link(source, target)

    monkeypatch.setattr(os, "link", link_second)
    assert Store.upgrade(f"sqlite:///{path}") == (migration.HEAD, migration.HEAD)
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_is_taken_for_a_new_store_and_keeps_its_mode(tmp_path):
    path = tmp_path / "flowstone.db"
    path.touch(mode=0o640)
    Store.open(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_size > 0


def test_a_store_in_memory_is_one_for_all_threads(bench):
    store = Store.open("sqlite://")
    names = [f"sensor-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.sensors.declare([name], bench.now), names))
    assert len(store.sensors.all()) == 20
    store.close()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_postgresql_schema_is_created_only_on_request(empty_url):
    with pytest.raises(
        StoreError, match=rf"no schema yet.*needs {migration.HEAD} \(run: flowstone db upgrade"
    ):
        Store.open(empty_url)
    Store.open(empty_url, migrate=True).close()
    Store.open(empty_url).close()


def test_open_without_migration_creates_no_file(tmp_path):
    with pytest.raises(StoreError, match=r"no schema yet.*flowstone db upgrade"):
        Store.open(f"sqlite:///{tmp_path / 'flowstone.db'}", migrate=False)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_behind_is_named_with_both_revisions(own_store_url):
    run(own_store_url, "UPDATE flowstone_schema SET version_num = '0000'")
    with pytest.raises(StoreError, match=rf"has schema revision 0000; .* needs {migration.HEAD}"):
        Store.open(own_store_url, migrate=False)


def test_upgrade_from_the_first_version_keeps_its_rows(empty_url, monkeypatch):
    monkeypatch.setattr(migration, "HEAD", "0001")
    Store.open(empty_url, migrate=True).close()
    at = "'2025-01-01T00:00:00.000000Z'"
    run(
        empty_url,
        "INSERT INTO flowstone_ticks"  # noqa: S608 - nobody else's text
        " (source, outcome, started_at, finished_at, events, duplicates)"
        f" VALUES ('sensor:a', 'triggered', {at}, {at}, 1, 0)",
    )
    monkeypatch.undo()
    assert Store.upgrade(empty_url) == ("0001", migration.HEAD)
    store = Store.open(empty_url)
    (tick,) = store.ticks.latest()
    assert (tick.source, tick.events) == ("sensor:a", 1)
    assert store.materializations.counts()
    store.close()


AT = "'2025-01-01T00:00:00.000000Z'"
ROWS = {
    "runners": f"('one', 'host', 7, 'machine', '0.1', {AT}, {AT}, NULL)",
    "sensors": f"('feed', 1, '{{}}', true, 0, NULL, false, false, 'one', {AT}, {AT}, 'failed', "
    f"{AT}, 'no luck')",
    "schedules": "('nightly', 'orders', '{}', NULL, 'flow.ini:1', false, 1, "
    f"{AT}, 0, NULL, false, NULL, 'one', {AT}, NULL, NULL, NULL, NULL, NULL)",
    "ticks": f"(1, 'sensor:feed', 'triggered', {AT}, {AT}, 1, 0, NULL, 0)",
    "materializations": "(1, 'run', 'orders', 'p', 'pending', 0, 3, "
    f"{AT}, {AT}, NULL, NULL, NULL, NULL, NULL, 'one', NULL, NULL)",
    "events": f"(1, 'sensor:feed', 'key', 'orders', 'p', '{{}}', {AT}, 1, 1, false)",
    "attempts": f"(1, 1, {AT}, NULL, NULL, NULL, 'one')",
    "skips": f"(1, 'nightly', 1, 'overlap', {AT}, {AT}, 1, true)",
    "backfills": f"(1, 'orders', 'a', 'b', 'day', false, {AT}, NULL)",
}


@pytest.mark.parametrize("revision", ["0002", "0003"])
def test_a_store_of_an_older_version_keeps_every_row(empty_url, monkeypatch, revision):
    monkeypatch.setattr(migration, "HEAD", revision)
    Store.open(empty_url, migrate=True).close()
    for table, row in ROWS.items():
        run(empty_url, f"INSERT INTO flowstone_{table} VALUES {row}")  # noqa: S608
    before = everything(empty_url)
    monkeypatch.undo()
    assert Store.upgrade(empty_url) == (revision, migration.HEAD)
    after = everything(empty_url)
    for table in ROWS:
        (old,), (new,) = before[table], after[table]
        if "worker" in old:  # renamed by revision 0005
            old["runner_id"] = old.pop("worker")
            assert "worker" not in new
        assert old.items() <= new.items()
    assert after["materializations"][0]["runner_id"] == after["attempts"][0]["runner_id"] == "one"


def everything(url):
    """Return all rows by their tables, whatever columns these have."""

    def read(connection):
        tables = {table: f"SELECT * FROM flowstone_{table}" for table in ROWS}  # noqa: S608
        return {
            table: [dict(row) for row in connection.exec_driver_sql(query).mappings()]
            for table, query in tables.items()
        }

    with closing(Database(parse_url(url))) as database:
        return database.read(read)


def test_K7_rows_of_a_killed_process_are_kept(tmp_path):
    path = tmp_path / "flowstone.db"
    script = (
        "import os, signal, sys; from datetime import datetime, UTC;"
        "from flowstone_core.store import Store;"
        "Store.open(sys.argv[1]).sensors.declare(['a'], datetime(2025, 1, 1, tzinfo=UTC));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    forked.run([sys.executable, "-c", script, f"sqlite:///{path}"], timeout=PATIENCE)
    assert (tmp_path / "flowstone.db-wal").stat().st_size > 0
    store = Store.open(f"sqlite:///{path}")
    assert [record.name for record in store.sensors.all()] == ["a"]
    store.close()
