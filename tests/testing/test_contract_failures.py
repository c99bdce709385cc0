"""Sensors that mind outages wrongly: the checks of failures find each."""

from __future__ import annotations

import functools
import sqlite3

import pytest

from flowstone_core import (
    NotTriggered,
    PollFailed,
    SensorBroken,
)
from tests.testing.rows import (
    Broken,
    Rows,
    assert_fault_found,
    noting,
)

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN)


@fails("test_an_outside_error_leaves_the_state_alone", "as if all were well")
class SwallowsErrors(Rows):
    def poll(self, state):
        try:
            return super().poll(state)
        except sqlite3.Error:
            return NotTriggered(state)

    def connect(self):
        super().poll(self.init())


@fails("test_an_outside_error_leaves_the_state_alone", "until it is reset by hand")
class GivesUp(Rows):
    def read(self, state):
        try:
            return super().read(state)
        except sqlite3.Error:
            raise SensorBroken("there is no such table") from None


@fails("test_an_outside_error_leaves_the_state_alone", "The state it returned was")
class GoesOnBeforeItHasRead(Rows):
    def poll(self, state):
        now = self.context.clock.now().isoformat()
        try:
            return super().poll(state)
        except sqlite3.Error as error:
            return PollFailed(error, {"at": now, "id": 0})


@fails("test_an_outside_error_leaves_the_state_alone", "the same instance still fails")
class StaysBroken(Rows):
    error = None

    def query(self, statement, *values):
        if self.error is not None:
            raise self.error
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            self.error = error
            raise


@fails("test_an_outside_error_leaves_the_state_alone", "was no longer found")
class LosesWhatFailed(Rows):
    """What comes while the source fails is taken for known afterwards."""

    failed = False

    def poll(self, state):
        try:
            rows = self.read(state)
        except sqlite3.Error:
            self.failed = True
            raise
        if self.failed and rows:
            self.failed = False
            return NotTriggered(self.after(rows))
        return super().poll(state)


@fails("test_a_source_that_never_answers_is_given_up", "poll had not come back", patience=1.0)
class WaitsForEver(Rows):
    def open(self):
        return sqlite3.connect(self.config.path, timeout=3600, check_same_thread=False)


@fails("test_a_source_that_never_answers_is_given_up", "as if all were well")
class TakesSilenceForNothing(Rows):
    def poll(self, state):
        try:
            return super().poll(state)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return NotTriggered(state)
            raise


@fails("test_connect_proves_and_changes_nothing", "no later poll found it")
class ConnectsByTaking(Rows):
    def connect(self):
        self.query("DELETE FROM row")
        self.connection.commit()


@fails("test_connect_proves_and_changes_nothing", "connect raised NotImplementedError")
class CannotConnect(Rows):
    def connect(self):
        raise NotImplementedError


@fails("test_connect_fails_where_the_source_does", "connect raised nothing")
class ConnectsToAnything(Rows):
    def connect(self):
        self.query("SELECT 1")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])
