"""Wake-up thread: it wakes who has something to do, survives its connection, and ends."""

from __future__ import annotations

import logging
import threading

import psycopg
import pytest

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.clock import SystemClock
from flowstone_core.runtime.coordination.wake_up import WakeUp
from flowstone_core.store import Store
from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url
from flowstone_core.testing import assert_no_leaks
from tests.processes import until
from tests.store.conftest import ASSETS, END_LISTENERS, Driver

PATIENCE = 300


class Woken:
    """A wake-up thread, and what it woke."""

    def __init__(self, store):
        self.engine, self.reconciler = threading.Event(), threading.Event()
        self.listening = threading.Event()
        self.wake_up = WakeUp(store, ASSETS, SystemClock(), self.engine.set, self._on_reconciler)
        self.wake_up.start()

    def _on_reconciler(self):
        self.reconciler.set()
        self.listening.set()  # the first look is made when it listens


@pytest.fixture
def woken(store_url):
    store = Store.open(store_url)
    woken = Woken(store)
    yield woken
    woken.wake_up.stop()
    store.close()


@pytest.fixture
def bench(store):
    return Driver(store)


def test_request_of_another_process_wakes_the_engine(woken, bench):
    assert woken.listening.wait(PATIENCE)
    bench.ask("orders")
    assert woken.engine.wait(PATIENCE)


def test_work_from_before_the_start_wakes_the_engine(bench, store):
    bench.ask("orders")
    woken = Woken(store)
    assert woken.engine.wait(PATIENCE)
    woken.wake_up.stop()


def test_change_by_an_operator_wakes_the_reconciler(woken, bench):
    assert woken.listening.wait(PATIENCE)
    woken.reconciler.clear()
    bench.store.sensors.pause("feed")
    assert woken.reconciler.wait(PATIENCE)
    assert not woken.engine.is_set()


def terminate_listener(url):
    with psycopg.connect(url, autocommit=True) as other:
        return other.execute(END_LISTENERS).fetchone() == (1,)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_lost_connection_is_replaced_and_logged_once(woken, bench, store_url, caplog):
    with caplog.at_level(logging.WARNING, "flowstone.wake_up"):
        assert woken.listening.wait(PATIENCE)
        until(lambda: terminate_listener(store_url))
        until(lambda: len(caplog.records) == 2)
    lost, again = caplog.records
    assert lost.getMessage().startswith("cannot listen for commits of other processes")
    assert "connection lost" in lost.error
    assert again.getMessage() == "listening for commits of other processes again"
    bench.ask("orders")
    assert woken.engine.wait(PATIENCE)


def test_password_does_not_show_when_the_server_is_away(caplog):
    url = "postgresql://me:hush-hush@127.0.0.1:1/gone"
    away = Store(Database(parse_url(url)))
    with caplog.at_level(logging.WARNING, "flowstone.wake_up"):
        woken = Woken(away)
        until(lambda: caplog.records)
        woken.wake_up.stop()
    (record,) = caplog.records
    assert "127.0.0.1" in record.error
    assert "hush" not in record.error
    with pytest.raises(StoreUnavailableError):
        away.listen(ASSETS)


def test_stopped_thread_leaves_nothing(store_url, bench):
    def use():
        store = Store.open(store_url)
        woken = Woken(store)
        assert woken.listening.wait(PATIENCE)
        woken.wake_up.stop()
        store.close()

    use()
    with assert_no_leaks():
        use()


def test_thread_that_never_listened_leaves_nothing(store_url):
    with assert_no_leaks():
        store = Store.open(store_url)
        woken = Woken(store)
        woken.wake_up.stop()
        store.close()


def test_store_in_memory_needs_no_wake_up():
    store = Store.open("sqlite://")
    woken = Woken(store)
    woken.wake_up.stop()
    assert not woken.engine.is_set()
    assert not woken.reconciler.is_set()
    store.close()
