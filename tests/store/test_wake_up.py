"""Wake-ups: a listener notices what other connections commit, and a look finds what may be done."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import SystemClock
from flowstone_core.store import Store, file_watch, notifier, wake_up
from flowstone_core.store.postgresql_listener import CHANNEL
from flowstone_core.store.sqlite_listener import PERIOD
from flowstone_core.store.wake_up import BURST, NOTIFY_SECONDS, UNOWNED_LIMIT
from flowstone_core.testing import assert_no_leaks
from tests.processes import until
from tests.store.conftest import ASSETS, END_LISTENERS, Driver, make_asset

PATIENCE = 300


def wait_for_ever(listener):
    while True:
        listener.wait(PATIENCE)


@pytest.fixture
def elsewhere(store_url, bench):
    """The store, as another process has it."""
    store = Store.open(store_url)
    yield store
    store.close()


@pytest.fixture
def listener(elsewhere):
    listener = elsewhere.listen(ASSETS)
    yield listener
    listener.close()


# -- commits of others -----------------------------------------------------------------------------


MADE_AVAILABLE = {
    "request": lambda bench: bench.ask("orders"),
    "tick": lambda bench: bench.fire(bench.event("1")),
    "retry": lambda bench: bench.store.materializations.retry(bench.asked, ASSETS, bench.now),
    "cancellation": lambda bench: bench.store.materializations.cancel(
        bench.asked, ASSETS, bench.now
    ),
    "release": lambda bench: bench.store.queue.release(bench.claims, bench.now),
    "follower": lambda bench: bench.complete(bench.claims[0]),
    "recovery": lambda bench: bench.store.queue.recover(bench.later(days=2)),
    "pause": lambda bench: bench.store.sensors.pause("feed"),
    "reset": lambda bench: bench.store.sensors.reset("feed"),
    "stop of a runner": lambda bench: bench.store.runners.stop("one", bench.now),
}


@pytest.mark.parametrize("what", MADE_AVAILABLE)
def test_listener_wakes_for_what_another_process_made_available(what, bench, listener):
    bench.asked = bench.ask("items").id
    if what == "retry":
        bench.store.materializations.cancel(bench.asked, ASSETS, bench.now)
    if what in {"release", "follower", "recovery"}:
        bench.ask("orders")
        bench.claims = [bench.claimed()["orders"]]
    until(lambda: not listener.wait(0.3))  # those of what was asked for
    MADE_AVAILABLE[what](bench)
    assert listener.wait(PATIENCE)


def test_interrupted_wait_ends_without_a_commit(listener):
    for _ in range(3):
        listener.interrupt()
    assert not listener.wait(PATIENCE)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_own_commit_wakes_other_listeners_only(bench, listener, elsewhere):
    mine = bench.store.listen(ASSETS)
    try:
        bench.ask("orders")
        mine.wait(0)  # the thread that waits sends the notification
        assert listener.wait(PATIENCE)
        elsewhere.sensors.pause("drop")
        listener.wait(0)
        assert mine.wait(PATIENCE)
        bench.ask("items")
        mine.interrupt()
        assert not mine.wait(PATIENCE)
    finally:
        mine.close()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_commits_of_many_asks_send_few_notifications(store_url, bench):
    bench.ask("alone")
    with psycopg.connect(store_url, autocommit=True) as other:
        (channel,) = other.execute(f"SELECT {CHANNEL}").fetchone()
        other.execute(f'LISTEN "{channel}"')
        started = SystemClock().monotonic()
        for number in range(200):
            bench.ask("orders", f"p{number}")
        seconds = SystemClock().monotonic() - started
        sent = list(other.notifies(timeout=0.2))
    assert 1 <= len(sent) <= BURST + 1 + seconds / NOTIFY_SECONDS
    assert {each.payload for each in sent} == {""}


def ask_in(store, bench, partition):
    store.materializations.materialize(ASSETS["orders"], partition, ASSETS, bench.now)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("listens", [False, True], ids=["command", "runner"])
def test_last_of_two_requests_wakes_too(listens, store_url, bench, listener, monkeypatch):
    monkeypatch.setattr(wake_up, "BURST", 1)
    monkeypatch.setattr(wake_up, "NOTIFY_SECONDS", 1.0)
    store = Store.open(store_url)
    mine = store.listen(ASSETS) if listens else None
    for partition in ("p1", "p2"):
        ask_in(store, bench, partition)
        if mine is not None:
            mine.wait(0)  # the thread that waits sends the notification, or owes it
        assert partition == "p2" or listener.wait(PATIENCE)
    if mine is not None:
        mine.wait(1.0)
        mine.wait(0)
    assert listener.wait(PATIENCE)
    if mine is not None:
        mine.close()
    store.close()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_store_that_closes_sends_what_it_owes(store_url, bench, listener, monkeypatch):
    monkeypatch.setattr(wake_up, "BURST", 1)
    monkeypatch.setattr(wake_up, "NOTIFY_SECONDS", 3600.0)
    store = Store.open(store_url)
    for partition in ("p1", "p2", "p3"):
        ask_in(store, bench, partition)
    assert listener.wait(PATIENCE)
    assert not listener.wait(0.5)
    with assert_no_leaks():
        store.close()
    assert listener.wait(PATIENCE)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_listener_notices_commits_where_no_file_is_watched(bench, elsewhere, monkeypatch):
    monkeypatch.setattr(file_watch.sys, "platform", "darwin")
    listener = elsewhere.listen(ASSETS)
    for number in range(3):
        assert not listener.wait(PERIOD)
        bench.ask("orders", f"p{number}")
        assert listener.wait(PATIENCE)
    listener.close()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_commit_that_may_be_of_this_process_waits_for_the_next_look(bench):
    listener = bench.store.listen(ASSETS)
    bench.ask("orders")
    assert not listener.wait(PERIOD)
    assert listener.wait(PERIOD) or listener.wait(PATIENCE)
    listener.close()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_stores_in_two_schemas_do_not_wake_each_other(store_url, listener, bench):
    with psycopg.connect(store_url, autocommit=True) as other:
        other.execute("CREATE SCHEMA IF NOT EXISTS beside")
    url = f"{store_url}&options=-csearch_path%3Dbeside"
    Store.upgrade(url)
    beside = Store.open(url)
    theirs = beside.listen(ASSETS)
    try:
        bench.ask("orders")
        assert listener.wait(PATIENCE)
        theirs.interrupt()
        assert not theirs.wait(PATIENCE)
        Driver(beside).ask("orders")
        assert theirs.wait(PATIENCE) or theirs.look(bench.now).due
        listener.interrupt()
        assert not listener.wait(PATIENCE)
    finally:
        theirs.close()
        beside.close()
        with psycopg.connect(store_url, autocommit=True) as other:
            other.execute("DROP SCHEMA beside CASCADE")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_notification_that_fails_is_logged_once(bench, monkeypatch, caplog):
    monkeypatch.setattr(notifier, "NOTIFY", "SELECT no_such_function()")
    with caplog.at_level(logging.WARNING):
        bench.ask("orders")
        bench.ask("items")
    (record,) = caplog.records
    assert record.getMessage().startswith("cannot notify other runners")
    assert "no_such_function" in record.error
    assert len(bench.states()) == 2


# -- looks -----------------------------------------------------------------------------------------


def test_look_finds_a_due_materialization_of_the_assets(bench, listener):
    assert not listener.look(bench.now).due
    bench.ask("orders")
    assert listener.look(bench.now).due
    assert not listener.look(bench.now - timedelta(seconds=1)).due
    bench.claim()
    assert not listener.look(bench.now).due


def test_look_leaves_out_what_others_materialize(bench, elsewhere):
    listener = elsewhere.listen(AssetGraph([make_asset("theirs")]))
    try:
        bench.ask("orders")
        assert not listener.look(bench.now).due
    finally:
        listener.close()


def test_look_changes_with_sensors_that_lose_their_owner(bench, listener):
    sensors = bench.store.sensors
    seen = [listener.look(bench.now).unowned]
    for change in (
        lambda: sensors.pause("feed"),
        lambda: sensors.resume("feed"),
        lambda: sensors.reset("feed"),
        lambda: sensors.pause("drop"),
        lambda: sensors.claim("one", ["feed"], bench.now),
    ):
        change()
        seen.append(listener.look(bench.now).unowned)
    assert all(before != after for before, after in pairwise(seen))


def test_look_changes_with_schedules_that_are_edited(desk, listener):
    before = listener.look(desk.now).unowned
    desk.create("nightly")
    assert listener.look(desk.now).unowned != before


def test_look_reads_few_rows_however_many_are_unowned(bench, listener):
    bench.store.sensors.declare([f"s{number}" for number in range(1_000)], bench.now)
    assert UNOWNED_LIMIT in listener.look(bench.now).unowned


# -- ends ------------------------------------------------------------------------------------------


def test_store_in_memory_has_no_listener():
    store = Store.open("sqlite://")
    assert store.listen(ASSETS) is None
    store.close()


def test_closed_listener_leaves_nothing(store_url):
    def use():
        store = Store.open(store_url)
        listener = store.listen(ASSETS)
        listener.interrupt()
        listener.wait(PATIENCE)
        listener.close()
        store.close()

    use()
    with assert_no_leaks():
        use()


def test_listener_that_outlives_its_store_leaves_nothing(store_url):
    with assert_no_leaks():
        store = Store.open(store_url)
        listener = store.listen(ASSETS)
        store.close()
        listener.close()
        listener.interrupt()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_listener_whose_connection_ends_raises(store_url, listener, bench):
    with psycopg.connect(store_url, autocommit=True) as other:
        assert other.execute(END_LISTENERS).fetchone() == (1,)
    with pytest.raises(StoreUnavailableError) as raised:
        wait_for_ever(listener)
    assert raised.value.hint == "wake-ups begin again by themselves"
    with pytest.raises(StoreUnavailableError):
        listener.look(bench.now)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_listener_of_a_damaged_file_raises(listener, elsewhere, tmp_path, bench):
    (path,) = tmp_path.glob("*.db")
    path.write_bytes(b"\0" * path.stat().st_size)
    elsewhere.close()
    with pytest.raises(StoreError):
        elsewhere.listen(ASSETS)
