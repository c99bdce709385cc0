"""Copies of a store to another database: everything, or nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flowstone_core.errors import ConflictError, StoreError, StoreUnavailableError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store, migration, schema, table_copy
from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url
from tests.store.conftest import ASSETS, Driver
from tests.store.overlap_line import Line
from tests.store.schedule_desk import Desk

PAIRS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


@pytest.fixture(params=PAIRS, ids="-".join)
def urls(request, tmp_path, postgresql):
    """The URLs of a store and of another one, both empty."""
    made = {
        "sqlite": lambda name: f"sqlite:///{tmp_path / name}.db",
        "postgresql": lambda _: postgresql.empty_store(),
    }
    source, target = (
        made[kind](name) for kind, name in zip(request.param, ("from", "to"), strict=True)
    )
    Store.open(source).close()
    return source, target


def contents(url):
    """Return the rows of every table."""
    with closing(Database(parse_url(url))) as database:
        if database.file is not None and not database.file.exists():
            return {}
        return database.read(
            lambda connection: {
                table.name: connection.execute(sa.select(table).order_by(*table.primary_key)).all()
                for table in schema.metadata.sorted_tables
            }
        )


def run_sql(url, *statements):
    with closing(Database(parse_url(url))) as database:
        database.write(lambda connection: [connection.exec_driver_sql(each) for each in statements])


def fill(url):
    """Leave a store as a killed runner does, in the middle of everything; return its time."""
    store = Store.open(url)
    bench = Driver(store)
    payload = '{"a\\\\b": "\\u0000\\n"}'
    bench.fire(
        bench.event("k1\t\\N", partition="Überfahrt \\N '\U0001f6a2", payload=payload),
        bench.event("k2", "items"),
    )
    bench.make("alone", "made", {"rows": 3})
    failed = bench.ask("alone", "failed")
    (claim,) = [c for c in bench.claim().claims if c.materialization.id == failed.id]
    bench.fail(claim)
    bench.commit(bench.tick("drop", error="no luck", failures=1))
    desk = Desk(bench)
    desk.declare()
    desk.create("late", text="@daily")
    desk.claim("nightly", "late")
    desk.commit(desk.tick(skips=desk.missed()))
    line = Line(bench)
    line.schedule("queue")
    line.fire("q1", "q2", "q3", name="queue")
    line.start()
    store.backfills.begin("alone", "2025-01-01", "2025-02-01", "day", force=False, now=bench.now)
    bench.commit(bench.tick("drop", error="no luck", failures=1))
    bench.later(days=2)  # the leases have ended
    store.close()
    return bench.now


def someone(store, now):
    """Return a driver of a store as it is, with nothing declared anew."""
    bench = Driver.__new__(Driver)
    bench.store, bench.now, bench.assets = store, now, ASSETS
    return bench


def copy(source, target, now, watch=lambda _: None):
    return Store.copy(source, target, now, watch)


def test_copy_has_every_row_of_the_source(urls):
    source, target = urls
    now = fill(source)
    before = contents(source)
    told = []
    copied = copy(source, target, now, told.append)
    assert contents(source) == before
    assert contents(target) == before
    assert copied.rows == {
        name.removeprefix("flowstone_"): len(rows) for name, rows in before.items()
    }
    assert all(copied.rows[name] for name in copied.rows)  # each table was tried
    assert copied.revision == migration.HEAD
    assert {progress.what for progress in told} == set(copied.rows)
    assert all(progress.done <= progress.total for progress in told)
    assert Store.check(target).problems == ()


def test_copy_is_carried_on_by_the_next_runner(urls):
    source, target = urls
    now = fill(source)
    run_sql(source, "DELETE FROM flowstone_ticks WHERE id = (SELECT max(id) FROM flowstone_ticks)")
    last = contents(source)["flowstone_ticks"][-1].id + 1
    copy(source, target, now)
    store = Store.open(target)
    store.queue.recover(now)
    bench = someone(store, now)
    bench.runner("next")
    # Sensors keep their states, failures and keys.
    checkpoint = store.sensors.claim("next", ["feed", "drop"], now)
    assert (checkpoint["feed"].state, checkpoint["drop"].failures) == ("1", 1)
    bench.checkpoint = checkpoint
    (result,) = bench.commit(
        bench.tick("feed", bench.event("k2"), bench.event("new")), owner="next"
    )
    assert [event.key for event in result.events] == ["new"]
    assert result.tick.id > last  # the number of a deleted row is not given again
    # Schedules keep their instants, edits and skips.
    desk_claims = store.schedules.claim("next", ["nightly", "late", "queue"], now)
    assert len(desk_claims) == 3
    assert len(store.skips.latest()) == 2
    # The lost attempt is repeated, the failed one too, and the queue keeps its order.
    order = []
    bench.later(hours=1)
    while claims := bench.claim(runner_id="next").claims:
        for claim in claims:
            order.append(claim.materialization.partition)
            bench.complete(claim)
    assert [name for name in order if name.startswith("q")] == ["q1", "q2", "q3"]
    assert "failed" in order
    assert {item.state for item in store.materializations.latest()} == {
        MaterializationState.COMPLETED
    }
    assert store.backfills.unfinished("alone", "2025-01-01", "2025-02-01", "day", force=False)
    store.close()


def test_copy_gives_no_number_again_where_the_source_lost_count(urls):
    source, target = urls
    now = fill(source)
    lose = {
        "sqlite": "DELETE FROM sqlite_sequence",
        "postgresql": "SELECT setval(pg_get_serial_sequence('flowstone_ticks', 'id'), 1)",
    }
    run_sql(source, lose[source.partition(":")[0]])
    copy(source, target, now)
    assert Store.check(target).problems == ()


def test_copy_of_many_rows_is_made_in_pages(urls, monkeypatch):
    monkeypatch.setattr(table_copy, "PAGE", 2)
    source, target = urls
    now = fill(source)
    told = []
    copy(source, target, now, told.append)
    assert [at.done for at in told if at.what == "events"][:2] == [2, 4]
    assert contents(target) == contents(source)


@pytest.mark.parametrize("side", [0, 1])
def test_copy_beside_a_living_runner_is_refused(urls, side):
    now = fill(urls[0])
    lives = Store.open(urls[side])
    someone(lives, now).runner("alive", timedelta(seconds=12))
    lives.close()
    with pytest.raises(ConflictError, match=r"process 7 on host-alive.*wait 12s") as caught:
        copy(*urls, now)
    assert parse_url(urls[side]).database in str(caught.value)
    # Its lease has ended: nothing is in the way but its row.
    if side == 0:
        copy(*urls, now + timedelta(seconds=13))


def test_copy_to_a_store_with_rows_is_refused(urls):
    source, target = urls
    now = fill(source)
    copy(source, target, now)
    before = contents(target)
    run_sql(source, "DELETE FROM flowstone_skips")
    with pytest.raises(ConflictError, match="not empty, it has backfills"):
        copy(source, target, now)
    assert contents(target) == before


def test_copy_of_a_store_to_itself_is_refused(urls, tmp_path):
    now = fill(urls[0])
    with pytest.raises(ConflictError, match=r"to itself \(name another target\)"):
        copy(urls[0], urls[0], now)
    if urls[0].startswith("sqlite"):
        (tmp_path / "link.db").symlink_to(Path(parse_url(urls[0]).database))
        with pytest.raises(ConflictError, match="to itself"):
            copy(urls[0], f"sqlite:///{tmp_path / 'link.db'}", now)


def test_copy_needs_the_same_schema_on_both_sides(urls, postgresql, tmp_path):
    now = fill(urls[0])
    with postgresql.database() as unmade, pytest.raises(StoreError, match="flowstone db upgrade"):
        copy(urls[0], unmade, now)
    with pytest.raises(StoreError, match="store not found: sqlite:///"):
        copy(f"sqlite:///{tmp_path / 'missing.db'}", urls[1], now)
    for pair in (("sqlite://", urls[1]), (urls[0], "sqlite://")):
        with pytest.raises(StoreError, match="cannot copy a store in memory"):
            copy(*pair, now)
    run_sql(urls[0], "UPDATE flowstone_schema SET version_num = '0001'")
    with pytest.raises(StoreError, match=r"has schema revision 0001.*flowstone db upgrade"):
        copy(*urls, now)
    run_sql(urls[0], f"UPDATE flowstone_schema SET version_num = '{migration.HEAD}'")  # noqa: S608
    assert not any(contents(urls[1]).values())


class InterruptError(BaseException):
    """Stands for Ctrl-C."""


def test_interrupted_copy_leaves_the_target_empty(urls):
    now = fill(urls[0])

    def interrupt(progress):
        if progress.what == "skips":
            raise InterruptError

    with pytest.raises(InterruptError):
        copy(*urls, now, interrupt)
    assert not any(contents(urls[1]).values())
    copy(*urls, now)
    assert contents(urls[1]) == contents(urls[0])


def test_target_that_differs_from_the_source_is_discarded(urls, monkeypatch):
    now = fill(urls[0])
    write = table_copy.TableCopy._checked

    def spoil(self, *arguments):
        write(self, *arguments)
        if self._table is schema.events:
            self._target.exec_driver_sql("UPDATE flowstone_events SET payload = '{}' WHERE id = 1")

    monkeypatch.setattr(table_copy.TableCopy, "_checked", spoil)
    with pytest.raises(StoreError, match="copy discarded: flowstone_events differs"):
        copy(*urls, now)
    assert not any(contents(urls[1]).values())


# -- rows that cannot be kept ----------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path, postgresql):
    return f"sqlite:///{tmp_path / 'from.db'}", postgresql.empty_store()


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("payload", "'a' || char(0)", "payload has a NUL character"),
        ("created_at", "'tomorrow'", "created_at is not an instant"),
        ("created_at", "'2025-01-15'", "created_at is not an instant"),
        ("key", "x'ff00'", "key is not text"),
        ("asset", "printf('%.201c', 'a')", "asset is longer than 200 characters"),
    ],
)
def test_rows_that_postgresql_cannot_keep_are_named(pair, column, value, fault):
    now = fill(pair[0])
    run_sql(pair[0], f"UPDATE flowstone_events SET {column} = {value} WHERE id = 2")  # noqa: S608
    with pytest.raises(StoreError, match=f"row 2 of flowstone_events: {fault}") as caught:
        copy(*pair, now)
    assert "repair these rows, or delete them" in str(caught.value)
    assert not any(contents(pair[1]).values())


def test_number_that_postgresql_cannot_keep_is_named(pair):
    now = fill(pair[0])
    run_sql(
        pair[0],
        "UPDATE flowstone_attempts SET number = 2147483648 WHERE materialization_id = 1",
    )
    with pytest.raises(StoreError, match=r"row 1, 2147483648 of .*: number is too large a number"):
        copy(*pair, now)


def test_rows_of_all_tables_are_named_and_the_rest_counted(pair, monkeypatch):
    monkeypatch.setattr(table_copy, "MAX_SHOWN", 1)
    now = fill(pair[0])
    run_sql(
        pair[0],
        "UPDATE flowstone_ticks SET source = source || char(0)",
        "UPDATE flowstone_skips SET reason = char(0)",
    )
    with pytest.raises(StoreError) as caught:
        copy(*pair, now)
    assert "row 1 of flowstone_skips: reason has a NUL" in str(caught.value)
    assert "row 1 of flowstone_ticks: source has a NUL" in str(caught.value)
    assert "and 1 more of flowstone_skips" in str(caught.value)


def test_rows_that_contradict_each_other_are_not_copied(pair):
    now = fill(pair[0])
    with closing(sqlite3.connect(parse_url(pair[0]).database)) as connection:
        connection.execute("UPDATE flowstone_events SET tick_id = 4711 WHERE id = 2")
        connection.commit()
    with pytest.raises(StoreError, match=r"cannot copy flowstone_events: .*flowstone db check"):
        copy(*pair, now)
    assert not any(contents(pair[1]).values())


def test_odd_values_that_the_target_keeps_are_copied(pair):
    """A document that is broken stops its own row alone, here as there."""
    now = fill(pair[0])
    run_sql(pair[0], "UPDATE flowstone_events SET payload = '{broken' WHERE id = 2")
    copy(*pair, now)
    assert contents(pair[1]) == contents(pair[0])


# -- locks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
def test_nobody_writes_to_a_store_during_a_copy(urls, side, monkeypatch):
    now = fill(urls[0])
    refused = []

    def intrude(_):
        if not refused:
            with closing(Database(parse_url(hurried(urls[side])))) as database:
                with pytest.raises(StoreUnavailableError) as caught:
                    database.write(
                        lambda connection: connection.exec_driver_sql(
                            "UPDATE flowstone_runners SET version = 'x'"
                        )
                    )
                refused.append(caught.value)

    monkeypatch.setattr("flowstone_core.store.sql_engines.BUSY_TIMEOUT", 20)
    copy(*urls, now, intrude)
    assert len(refused) == 1


def hurried(url):
    if url.startswith("sqlite"):
        return url
    return f"{url}&options=-cstatement_timeout%3D20ms"
