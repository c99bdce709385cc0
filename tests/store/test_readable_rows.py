"""Rows that cannot be read: each stops only itself, and the check names it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import StoreError
from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.store import Store, readable_rows, schema
from flowstone_core.store.database import Database
from flowstone_core.store.readable_rows import UnreadableRowError
from flowstone_core.store.store_url import parse_url

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _told_anew(monkeypatch):
    monkeypatch.setattr(readable_rows, "_logged", set())


@pytest.fixture
def full(bench, desk):
    """A store with rows in all tables, half of them of things called ``bad``."""
    bench.store.sensors.declare(["bad"], bench.now)
    bench.checkpoint |= bench.store.sensors.claim("one", ["bad"], bench.now)
    desk.declare()
    desk.declare(name="bad")
    desk.claim("nightly", "bad")
    skip = Skip(SkipReason.EDITED, bench.now, bench.now + HOUR, 2)
    for name in ("nightly", "bad"):
        desk.commit(desk.tick(name=name, skips=(skip,)))
    for name in ("good", "bad"):
        bench.make("alone", name, {"rows": 1})
        bench.store.backfills.begin("alone", name, name, "1 day", force=False, now=bench.now)
    bench.runner("bad")
    bench.fire(bench.event("good", "alone", "next"), sensor="feed")
    bench.fire(bench.event("bad", "orders", "next"), sensor="bad")
    return bench


def corrupt(url, column, value, condition):
    """Write a value that FlowStone would not write into the last row that fits."""
    table = column.table
    key = next(iter(table.primary_key))
    with closing(Database(parse_url(url))) as database:

        def write(connection):
            wanted = sa.select(sa.func.max(key)).where(condition)
            number = connection.scalar(wanted)
            text = value if value.startswith("X'") else f"'{value}'"
            raw = sa.text(text.replace(":", r"\:"))
            done = connection.execute(sa.update(table).where(key == number).values({column: raw}))
            assert done.rowcount >= 1
            return number

        return database.write(write)


RUNNERS, SENSORS, SCHEDULES = schema.runners.c, schema.sensors.c, schema.schedules.c
TICKS, EVENTS, ATTEMPTS = schema.ticks.c, schema.events.c, schema.attempts.c
ROWS, SKIPS, BACKFILLS = schema.materializations.c, schema.skips.c, schema.backfills.c

CASES = [
    (column, condition)
    for columns, condition in (
        ([RUNNERS.started_at, RUNNERS.lease_until, RUNNERS.stopped_at], RUNNERS.id == "bad"),
        ([SENSORS.created_at, SENSORS.not_before, SENSORS.last_tick_at], SENSORS.name == "bad"),
        ([SENSORS.stale_since, SENSORS.last_good_at, SENSORS.quiet_since], SENSORS.name == "bad"),
        ([SCHEDULES.decided_until, SCHEDULES.created_at], SCHEDULES.name == "bad"),
        ([SCHEDULES.edited_at, SCHEDULES.last_tick_at], SCHEDULES.name == "bad"),
        ([TICKS.started_at, TICKS.finished_at], TICKS.source == "sensor:bad"),
        ([EVENTS.created_at], EVENTS.key == "bad"),
        ([ROWS.requested_at, ROWS.started_at, ROWS.finished_at], ROWS.asset == "orders"),
        ([ATTEMPTS.started_at, ATTEMPTS.finished_at], ATTEMPTS.materialization_id == 2),
        ([SKIPS.first_at, SKIPS.last_at], SKIPS.schedule == "bad"),
        ([BACKFILLS.created_at], BACKFILLS.first == "bad"),
    )
    for column in columns
]
DOCUMENTS = [
    (SENSORS.state, SENSORS.name == "bad"),
    (SCHEDULES.declared, SCHEDULES.name == "bad"),
    (SCHEDULES.edits, SCHEDULES.name == "bad"),
    (TICKS.skipped_items, TICKS.source == "sensor:bad"),
    (EVENTS.payload, EVENTS.key == "bad"),
    (ROWS.metadata, ROWS.partition == "bad"),
]
CHOICES = [
    (SENSORS.last_outcome, SENSORS.name == "bad"),
    (SCHEDULES.last_outcome, SCHEDULES.name == "bad"),
    (TICKS.outcome, TICKS.source == "sensor:bad"),
    (ATTEMPTS.outcome, ATTEMPTS.materialization_id == 2),
    (SKIPS.reason, SKIPS.schedule == "bad"),
]


def name_of(case):
    return str(case[0]).removeprefix("flowstone_")


def everything(bench):
    """Do what a runner and `flowstone status` do; return what was claimed, by asset."""
    store = bench.store
    store.runners.all()
    store.sensors.all()
    store.sensors.declare(["feed", "bad"], bench.now)
    store.sensors.claim("one", ["feed", "bad"], bench.now)
    store.schedules.all()
    store.schedules.claim("one", ["nightly", "bad"], bench.now)
    store.ticks.latest()
    store.events.latest()
    store.skips.latest()
    store.materializations.latest()
    store.materializations.counts()
    for number in (1, 2, 3, 4):
        store.materializations.attempts(number)
        store.materializations.events(number)
    store.queue.recover(bench.now, "one", [])
    bench.fire(bench.event("later", "items"), sensor="feed")
    return bench.claimed()


def check_of(bench, url, case, number):
    column, _ = case
    (problem,) = [text for text in Store.check(url).problems if "unreadable" in text]
    assert f"row {number}" in problem
    assert f"of {column.table.name} is unreadable: {column.name} is" in problem


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_S13_an_instant_that_is_none_stops_only_its_row(full, store_url, backend, case):
    value = "tomorrow" if backend == "sqlite" else "infinity"
    number = corrupt(store_url, case[0], value, case[1])
    check_of(full, store_url, case, number)
    claimed = everything(full)
    assert {"alone", "items"} <= set(claimed)
    assert [sensor.name for sensor in full.store.sensors.all()][-1] == "feed"


@pytest.mark.parametrize("value", ["{", "[1", "\udcff".encode("utf-8", "replace").decode(), "5x"])
@pytest.mark.parametrize("case", DOCUMENTS, ids=name_of)
def test_S13_a_broken_document_stops_only_its_row(full, store_url, case, value):
    number = corrupt(store_url, case[0], value, case[1])
    check_of(full, store_url, case, number)
    assert {"alone", "items"} <= set(everything(full))


@pytest.mark.parametrize("case", CHOICES, ids=name_of)
def test_S13_an_unknown_word_stops_only_its_row(full, store_url, case):
    number = corrupt(store_url, case[0], "odd", case[1])
    check_of(full, store_url, case, number)
    assert {"alone", "items"} <= set(everything(full))


@pytest.mark.parametrize("text", ["d:2025-99-99", "d:2025-1-5", "t:!"])
def test_S13_text_of_no_partition_stops_only_its_row(full, store_url, text):
    case = EVENTS.partition, EVENTS.key == "bad"
    number = corrupt(store_url, *case[:1], text, case[1])
    check_of(full, store_url, case, number)
    assert {"alone", "items"} <= set(everything(full))


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    "case",
    [
        (SENSORS.version, SENSORS.name == "bad"),
        (SENSORS.last_error, SENSORS.name == "bad"),
        (ROWS.error, ROWS.asset == "orders"),
        (ROWS.attempt, ROWS.asset == "orders"),
        (EVENTS.payload, EVENTS.key == "bad"),
        (TICKS.events, TICKS.source == "sensor:bad"),
    ],
    ids=name_of,
)
def test_S13_bytes_in_any_column_stop_only_their_row(full, store_url, case):
    number = corrupt(store_url, case[0], "X'FFFE'", case[1])
    check_of(full, store_url, case, number)
    assert {"alone", "items"} <= set(everything(full))


@pytest.mark.parametrize("backend", ["sqlite"])
def test_S13_text_that_is_not_utf8_stops_only_its_row(full, store_url):
    case = SENSORS.last_error, SENSORS.name == "bad"
    number = corrupt(store_url, case[0], "X'FFFE'", case[1])
    corrupt_text = "UPDATE flowstone_sensors SET last_error = CAST(last_error AS TEXT)"
    with closing(Database(parse_url(store_url))) as database:
        database.write(lambda connection: connection.exec_driver_sql(corrupt_text))
    check_of(full, store_url, case, number)
    assert {"alone", "items"} <= set(everything(full))


def test_S13_event_that_cannot_be_read_discards_what_it_requested(full, store_url):
    corrupt(store_url, EVENTS.payload, "{", EVENTS.key == "bad")
    assert "orders" not in everything(full)
    (gone,) = full.store.materializations.latest(asset="orders")
    assert gone.state == "discarded"
    assert gone.error == (
        f"unreadable row {event_id(full)} of flowstone_events: payload is not a JSON object; "
        "repair or delete it, and retry"
    )
    # Mended by an operator, it runs.
    corrupt(store_url, EVENTS.payload, '{"a":1}', EVENTS.key == "bad")
    full.store.materializations.retry(gone.id, full.assets, full.now)
    (event,) = full.claimed()["orders"].events
    assert event.payload == {"a": 1}


def event_id(bench):
    with closing(Database(bench.store._database.url)) as database:
        return database.read(
            lambda connection: connection.scalar(sa.select(EVENTS.id).where(EVENTS.key == "bad"))
        )


def test_S13_unreadable_materialization_is_discarded_and_shown(full, store_url, backend, caplog):
    value = "tomorrow" if backend == "sqlite" else "infinity"
    number = corrupt(store_url, ROWS.requested_at, value, ROWS.asset == "orders")
    with pytest.raises(UnreadableRowError, match=f"unreadable row {number} of flowstone_mat"):
        full.get(number)
    assert "orders" not in {item.asset for item in full.store.materializations.latest()}
    assert "orders" not in everything(full)
    gone = full.get(number)
    assert (gone.state, gone.requested_at) == ("discarded", full.now)
    assert gone.error == (
        f"unreadable row {number} of flowstone_materializations: requested_at is not an instant"
    )
    assert caplog.text.count("row of the store left out") == 1
    full.store.materializations.retry(number, full.assets, full.now)
    assert "orders" in full.claimed()
    assert Store.check(store_url).problems == ()


def test_S13_unreadable_attempt_of_a_dead_runner_is_discarded(full, store_url, backend):
    value = "tomorrow" if backend == "sqlite" else "infinity"
    full.ask("items", "lost")
    claim = full.claimed(runner_id="ghost")["items"]
    number = corrupt(store_url, ROWS.started_at, value, ROWS.id == claim.materialization.id)
    changed = full.store.queue.recover(full.now, "one", [])
    assert number in {item.id for item in changed if item.state == "discarded"}
    assert Store.check(store_url).problems == ()


def test_S13_a_runner_with_an_endless_lease_is_not_alive(full, store_url, backend):
    value = "tomorrow" if backend == "sqlite" else "infinity"
    full.store.sensors.claim("bad", [], full.now)
    corrupt(store_url, RUNNERS.lease_until, value, RUNNERS.id == "one")
    assert set(full.store.sensors.claim("bad", ["feed"], full.now)) == {"feed"}
    full.claim(runner_id="one")
    assert {item.state for item in full.store.queue.recover(full.now)} <= {"retrying", "discarded"}


def test_S13_a_schedule_that_cannot_be_read_does_not_stop_a_start(full, store_url, desk, caplog):
    corrupt(store_url, SCHEDULES.declared, "{", SCHEDULES.name == "bad")
    desk.declare()
    desk.declare(name="bad")
    assert [record.name for record in full.store.schedules.all()] == ["nightly"]
    with pytest.raises(StoreError, match="unreadable row bad of flowstone_schedules: declared"):
        full.store.schedules.get("bad")
    assert "row of the store left out" in caplog.text


def test_S13_many_unreadable_rows_are_counted(full, store_url):
    with closing(Database(parse_url(store_url))) as database:
        row = {"version": 0, "state": "{", "polled": False, "failures": 0, "created_at": full.now}
        rows = [
            {"name": f"more-{number}", "broken": False, "paused": False, **row}
            for number in range(25)
        ]
        database.write(lambda connection: connection.execute(sa.insert(schema.sensors), rows))
    problems = Store.check(store_url).problems
    assert len(problems) == 21
    assert problems[-1] == "and 5 more like it"
