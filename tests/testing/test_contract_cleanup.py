"""Sensors that leave something behind or read the wall clock: a check finds each."""

from __future__ import annotations

import functools
import socket
import subprocess
import threading
from datetime import datetime

import pytest

from tests.testing.rows import (
    Broken,
    Rows,
    assert_fault_found,
    noting,
)

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN)


@fails("test_cleanup_may_come_at_any_time", "cleanup, called before init and poll, raised")
class CannotCleanUpUnused(Rows):
    def cleanup(self):
        if self.connection is None:
            raise AttributeError("there is no connection")
        self.connection.close()


@fails("test_cleanup_may_come_at_any_time", "cleanup, called a second time, raised")
class CannotCleanUpTwice(Rows):
    clean = False

    def cleanup(self):
        super().cleanup()
        if self.clean:
            raise RuntimeError("it is closed already")
        self.clean = True


@fails(
    "test_cleanup_may_come_at_any_time",
    "after a poll that failed, while the external source still did",
)
class CannotCleanUpAfterAFailure(Rows):
    def cleanup(self):
        if self.connection is not None:
            try:
                self.connection.execute("SELECT 1 FROM row")
            finally:
                super().cleanup()


LEFT: list[Rows] = []
"""Instances that left something behind, which their test must put away."""


@fails("test_nothing_is_left_behind", "rows.db", patience=0.2)
class NeverCloses(Rows):
    def open(self):
        LEFT.append(self)
        return super().open()

    def cleanup(self):
        """Do nothing."""

    def put_away(self):
        self.connection.close()


@fails("test_nothing_is_left_behind", "the thread 'watcher'", patience=0.2)
class LeavesAThread(Rows):
    watched = None

    def open(self):
        if self.watched is None:
            self.watched = threading.Event()
            self.watcher = threading.Thread(target=self.watched.wait, name="watcher", daemon=True)
            self.watcher.start()
            LEFT.append(self)
        return super().open()

    def put_away(self):
        self.watched.set()
        self.watcher.join()


@fails("test_nothing_is_left_behind", "the open socket 127.0.0.1:", patience=0.2)
class LeavesASocket(Rows):
    """Its twin listens: it is at home nowhere."""

    def open(self):
        self.port = socket.create_server(("127.0.0.1", 0))
        self.line = socket.create_connection(self.port.getsockname())
        LEFT.append(self)
        return super().open()

    def put_away(self):
        self.line.close()
        self.port.close()


@fails("test_nothing_is_left_behind", "the child process", patience=0.2)
class LeavesAChild(Rows):
    child = None

    def open(self):
        if self.child is None:
            self.child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
            LEFT.append(self)
        return super().open()

    def put_away(self):
        self.child.kill()
        self.child.wait()


@fails("test_it_asks_its_context_for_the_time", "now() at")
class AsksTheMachine(Rows):
    def after(self, rows):
        datetime.now()  # noqa: DTZ005, TID251 - the fault
        return super().after(rows)


@pytest.fixture(autouse=True)
def put_away():
    yield
    while LEFT:
        LEFT.pop().put_away()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])
