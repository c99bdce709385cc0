"""Sensors that fail in a runner, or pass over some of many: a check finds each."""

from __future__ import annotations

import functools
import sqlite3
import threading

import pytest

from flowstone_core import (
    NotTriggered,
    Triggered,
)
from tests.testing.rows import (
    TOKEN,
    Broken,
    Rows,
    RowsContract,
    assert_fault_found,
    noting,
)

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN)


@fails("test_each_call_may_come_in_another_thread", "asked to clean up in a separate thread")
class CleansUpAtHome(Rows):
    home = None

    def init(self):
        self.home = threading.get_ident()
        return super().init()

    def poll(self, state):
        self.home = threading.get_ident()
        return super().poll(state)

    def cleanup(self):
        super().cleanup()
        if self.home not in (None, threading.get_ident()):
            raise RuntimeError("polled in another thread")


@fails("test_each_call_may_come_in_another_thread", "polled in a separate thread")
class BoundToItsThread(Rows):
    """As a connection of sqlite3 is by itself; this one can still be closed by the test."""

    def __init__(self, config, context=None):
        super().__init__(config, context)
        self.home = threading.get_ident()

    def query(self, statement, *values):
        if threading.get_ident() != self.home:
            raise sqlite3.ProgrammingError("made in another thread")
        return super().query(statement, *values)


@fails("test_a_run_ends_in_materializations", "TypeError")
class TakesNoContext(Rows):
    def __init__(self, config, *, context=None):
        super().__init__(config, context)


class WithoutContext(RowsContract):
    def make_sensor(self, context):
        config = self.sensor_class.Config(path=self.path, token=TOKEN)
        return self.sensor_class(config, context=context)


BROKEN["TakesNoContext"][2]["contract"] = WithoutContext


@fails("test_events_beyond_the_limit_follow", "7 of them never fired")
class DropsWhatIsTooMuch(Rows):
    def poll(self, state):
        outcome = super().poll(state)
        if isinstance(outcome, NotTriggered):
            return outcome
        return Triggered(outcome.events[:5], outcome.state)


@fails("test_changes_of_one_instant_are_all_found", "'row 2'")
class PassesTies(Rows):
    """SELECT ... WHERE at > the last one."""

    def read(self, state):
        return self.query("SELECT id, at, name FROM row WHERE at > ? ORDER BY at, id", state["at"])


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])
