"""Soundness: a store that is whole is said to be; what is wrong is found and named."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flowstone_core.errors import StoreError
from flowstone_core.store import IntegrityReport, KeyRetention, Store, integrity, migration, schema
from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url


def problems(url):
    return list(Store.check(url).problems)


def fill(bench):
    """Leave a materialization behind in each state there is."""
    bench.make("orders")
    bench.fire(bench.event("a", "report"))  # is held back
    bench.claim(limit=1)
    for name in ("running", "retrying", "pending", "discarded", "cancelled"):
        asked = bench.ask("alone", name)
        if name == "cancelled":
            bench.store.materializations.cancel(asked.id, bench.assets, bench.now)
    for claim in bench.claim(limit=100).claims:
        if claim.materialization.partition == "retrying":
            bench.fail(claim)
        if claim.materialization.partition == "discarded":
            bench.discard(claim)
    bench.ask("alone", "pending")


def test_check_of_a_used_store_finds_no_problem(bench, store_url, backend):
    fill(bench)
    found = Store.check(store_url)
    sqlite = backend == "sqlite"
    shown = bench.store.url
    assert found == IntegrityReport(shown, migration.HEAD, "wal" if sqlite else None, True, ())


def test_an_empty_store_is_sound(store_url):
    assert problems(store_url) == []


def change(url, statement):
    """Change a store as no part of FlowStone does."""
    with closing(Database(parse_url(url))) as database:
        database.write(lambda connection: connection.exec_driver_sql(statement))


ROWS = "UPDATE flowstone_materializations SET"


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM flowstone_attempts", "1 is running without a running attempt"),
        (
            "UPDATE flowstone_attempts SET finished_at = started_at",
            "1 is running without a running attempt",
        ),
        (
            f"{ROWS} state = 'discarded', token = NULL, finished_at = requested_at WHERE id = 1",
            "1 has an unfinished attempt that it does not run",
        ),
        (
            "UPDATE flowstone_attempts SET number = 2",
            "1 has an unfinished attempt that it does not run",
        ),
        (
            f"{ROWS} finished_at = requested_at",
            "1 has an end time that contradicts its state",
        ),
        (
            f"{ROWS} available_at = NULL WHERE id = 2",
            "2 has not ended, and is neither due nor waiting",
        ),
        (
            f"{ROWS} available_at = NULL, after_id = 9 WHERE id = 2",
            "2 waits for a predecessor that has ended or is missing",
        ),
        (
            f"{ROWS} available_at = NULL, after_id = 2 WHERE id = 2",
            "2 waits for a predecessor that has ended or is missing",
        ),
    ],
)
def test_check_names_each_broken_invariant(bench, store_url, statement, problem):
    bench.ask("alone", "running")
    bench.claim()
    bench.ask("alone", "pending")
    assert problems(store_url) == []
    change(store_url, statement)
    assert f"materialization {problem}" in problems(store_url)


def test_many_problems_of_one_kind_are_counted(bench, store_url, monkeypatch):
    monkeypatch.setattr(integrity, "MAX_SHOWN", 3)
    for number in range(1_205):
        bench.ask("alone", f"p{number}")
    change(store_url, f"{ROWS} available_at = NULL")
    assert problems(store_url) == [
        "materialization 1 has not ended, and is neither due nor waiting",
        "materialization 2 has not ended, and is neither due nor waiting",
        "materialization 3 has not ended, and is neither due nor waiting",
        "and 1,202 more like it",
    ]


def test_a_store_that_others_write_to_is_looked_at_and_left_as_it_is(bench, store_url):
    fill(bench)
    before = bench.states()
    with pytest.raises(RuntimeError, match="undone"):
        bench.store._database.write(look_and_undo, store_url)
    assert bench.states() == before


def look_and_undo(connection, url):
    """Look at a store while a transaction that writes is open."""
    connection.execute(sa.delete(schema.attempts))
    if connection.dialect.name == "sqlite":
        assert problems(url) == []
    raise RuntimeError("undone")


# -- SQLite's part ---------------------------------------------------------------------------------


@pytest.fixture
def path(bench, store_url, backend):
    """The file of a store with some hundred rows, which nobody uses."""
    assert backend == "sqlite"
    bench.fire(*(bench.event(f"k{number}", "alone", f"p{number}") for number in range(300)))
    bench.store.close()
    path = Path(store_url.removeprefix("sqlite:///"))
    assert not path.with_name(f"{path.name}-wal").exists()
    return path


sqlite_only = pytest.mark.parametrize("backend", ["sqlite"])


@sqlite_only
@pytest.mark.parametrize("where", ["a page in the midst", "the last page", "half of it"])
def test_D5_a_page_that_was_overwritten_is_found(path, store_url, where):
    content = bytearray(path.read_bytes())
    pages = len(content) // 4_096
    first, count = {
        "a page in the midst": (pages // 2, 1),
        "the last page": (pages - 1, 1),
        "half of it": (pages // 2, pages - pages // 2),
    }[where]
    content[first * 4_096 : (first + count) * 4_096] = b"\xa5" * (count * 4_096)
    path.write_bytes(content)
    try:
        assert problems(store_url)
    except StoreError as error:
        assert "restore a backup" in str(error)  # noqa: PT017 - it may come either way
    assert path.read_bytes() == content


@sqlite_only
@pytest.mark.parametrize("page", range(1, 60, 7))
def test_D5_wherever_the_file_is_cut_off_that_is_found(path, store_url, page):
    content = path.read_bytes()
    path.write_bytes(content[: page * 4_096])
    assert page * 4_096 < len(content)
    try:
        assert problems(store_url)
    except StoreError as error:
        assert "restore a backup" in str(error)  # noqa: PT017


@sqlite_only
def test_a_row_that_refers_to_nothing_is_found(path, store_url):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM flowstone_materializations WHERE id = 7")
        connection.execute("DELETE FROM flowstone_ticks")
        connection.commit()
    found = problems(store_url)
    assert (
        "row 7 of flowstone_events refers to a missing row of flowstone_materializations"
        in found[0]
        or ("refers to a missing row of flowstone_ticks" in found[0])
    )
    assert found[-1] == f"and {301 - integrity.MAX_SHOWN} more like it"


@sqlite_only
def test_a_running_one_without_a_token_is_found(path, store_url):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"{ROWS} state = 'running', available_at = NULL WHERE id = 7")
        connection.commit()
    assert any(re.search("CHECK constraint failed", each) for each in problems(store_url))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "store not found"),
        (b"", "store not found"),
        (b"x" * 100, "is not an SQLite database"),
        (b"x" * 5_000, "file is not a database.*restore a backup"),
    ],
)
def test_D5_file_that_is_not_a_store_is_named_and_unchanged(tmp_path, content, match):
    path = tmp_path / "no.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=match):
        Store.check(f"sqlite:///{path}")
    assert (path.read_bytes() if path.exists() else None) == content


def test_check_of_a_store_in_memory_is_refused():
    with pytest.raises(StoreError, match="in memory"):
        Store.check("sqlite://")


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_of_another_revision_the_contents_are_not_looked_at(own_store_url, revision):
    change(own_store_url, f"UPDATE flowstone_schema SET version_num = '{revision}'")  # noqa: S608
    found = Store.check(own_store_url)
    assert (found.revision, found.complete, found.problems) == (revision, False, ())


def test_a_database_without_a_schema_is_no_store_yet(postgresql):
    with (
        postgresql.database() as url,
        pytest.raises(StoreError, match=r"store not found: .*flowstone db upgrade"),
    ):
        Store.check(url)


def test_check_of_a_pruned_store_finds_no_problem(bench, store_url):
    fill(bench)
    bench.later(days=40)
    keys = KeyRetention({}, bench.now, bench.now)
    list(bench.store.pruning().prune(bench.now - timedelta(days=1), keys))
    assert problems(store_url) == []


def test_table_that_would_give_a_number_again_is_named(bench, store_url, backend):
    fill(bench)
    before = {
        "sqlite": "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'flowstone_events'",
        "postgresql": "SELECT setval('flowstone_events_id_seq', 1)",
    }
    change(store_url, before[backend])
    if backend == "postgresql":
        (found,) = problems(store_url)
        assert found.startswith("flowstone_events numbers its next row as one that it has")
        with pytest.raises(StoreError):
            bench.ask("alone", "again")
    else:  # there the largest number counts, too
        assert problems(store_url) == []
        bench.ask("alone", "again")
