"""Sensors that lose, double or forget: the checks of state and events find each."""

from __future__ import annotations

import functools
import sqlite3
import uuid
from datetime import datetime
from typing import ClassVar

import pytest

from flowstone_core import (
    Event,
    NotTriggered,
    RetryLater,
    Triggered,
)
from tests.testing.rows import (
    Broken,
    Rows,
    RowsContract,
    assert_fault_found,
    noting,
)

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN)


@fails("test_its_state_is_json", "it is a set")
class KeepsASet(Rows):
    def init(self):
        return set()

    def poll(self, state):
        rows = self.query("SELECT id, at, name FROM row")
        new = [row for row in rows if row[2] not in state]
        return Triggered([self.event(*row) for row in new], state | {name for _, _, name in new})


@fails("test_its_state_is_json", "it is a datetime")
class KeepsADatetime(Rows):
    def after(self, rows):
        return super().after(rows) | {"seen": datetime.fromisoformat(rows[-1][1])}


@fails("test_a_change_fires", "'row 1' was not found")
class FindsNothing(Rows):
    def read(self, state):
        return []


@fails("test_a_change_fires", "it must return Triggered, NotTriggered or PollFailed")
class ReturnsAList(Rows):
    def poll(self, state):
        return super().poll(state).events


@fails("test_a_change_fires", "asks for another moment")
class NeverReady(Rows):
    def poll(self, state):
        raise RetryLater(1, "asks for another moment")


@fails("test_a_change_fires", "is for asset 'elsewhere', which no pipeline has")
class NamesAnUnknownAsset(Rows):
    def event(self, *row):
        return Event(row[2], asset="elsewhere")


@fails("test_a_change_fires", "200 polls on end found something")
class FiresWithoutEnd(Rows):
    def after(self, rows):
        return self.init()


@fails("test_nothing_fires_twice", "polled again 1 day, 0:00:00 later")
class ForgetsAfterADay(Rows):
    def poll(self, state):
        today = self.context.clock.now().date().isoformat()
        if state.get("today", today) != today:
            state = self.init()
        outcome = super().poll(state)
        after = outcome.state | {"today": today}
        if isinstance(outcome, Triggered):
            return Triggered(outcome.events, after)
        return NotTriggered(after)


@fails("test_a_quiet_poll_leaves_the_state_alone", "at each poll it returned the state")
class NotesTheTime(Rows):
    def poll(self, state):
        outcome = super().poll(state)
        after = outcome.state | {"polled": self.context.clock.now().isoformat()}
        if isinstance(outcome, Triggered):
            return Triggered(outcome.events, after)
        return NotTriggered(after)


@fails("test_a_quiet_poll_leaves_the_state_alone", "it found again what it had found before")
class TrustsItsKeys(Rows):
    """That none fires twice is left to the keys."""

    def read(self, state):
        return super().read(self.init())

    def event(self, number, at, name):
        return Event(name, key=str(number))


@fails("test_it_goes_on_after_a_restart", "a fresh instance, given the stored state, found again")
class RemembersOnTheInstance(Rows):
    last = 0

    def init(self):
        return None

    def poll(self, state):
        rows = self.query("SELECT id, at, name FROM row WHERE id > ? ORDER BY id", self.last)
        self.last = max([self.last, *(number for number, _, _ in rows)])
        return Triggered([self.event(*row) for row in rows], None) if rows else NotTriggered(None)


@fails("test_it_goes_on_after_a_restart", "changed while no instance was there")
class BeginsWhereItIs(Rows):
    """Each instance takes what there is at its first poll for known."""

    first = True

    def poll(self, state):
        first, self.first = self.first, False
        if not first or state == self.init():
            return super().poll(state)
        rows = self.read(state)
        return NotTriggered(self.after(rows) if rows else state)


@fails("test_it_goes_on_after_a_restart", "AttributeError")
class NeedsInit(Rows):
    def init(self):
        self.events_of = self.event
        return super().init()

    def event(self, *row):
        self.events_of  # noqa: B018 - to look at it is the fault
        return super().event(*row)


@fails("test_nothing_is_lost_when_a_commit_fails", "the same instance found nothing")
class RemembersOnTheInstanceToo(Rows):
    last: ClassVar[dict[str, object]] = {"at": "", "id": 0}

    def poll(self, state):
        later = max(state, self.last, key=lambda each: (each["at"], each["id"]))
        outcome = super().poll(later)
        self.last = outcome.state
        return outcome


@fails("test_nothing_is_lost_when_a_commit_fails", "a fresh one found nothing")
class TakesFromTheSource(Rows):
    """Deletes what it reads, and only itself knows what that was."""

    def __init__(self, config, context=None):
        super().__init__(config, context)
        self.taken = []

    def read(self, state):
        self.taken += self.query("SELECT id, at, name FROM row ORDER BY at, id")
        self.query("DELETE FROM row")
        self.connection.commit()
        return [row for row in self.taken if row[0] > state["id"]]

    def connect(self):
        self.query("SELECT 1 FROM row")


@fails("test_nothing_is_lost_when_a_commit_fails", "Given the same state again")
class AcknowledgesByNumber(Rows):
    """Removes as many as the poll before has found: repeated, it removes others."""

    def init(self):
        return 0

    def open(self):
        return sqlite3.connect(self.config.path, timeout=0.01, isolation_level=None,
                               check_same_thread=False)  # fmt: skip

    def poll(self, state):
        self.query("DELETE FROM row WHERE id IN (SELECT id FROM row ORDER BY id LIMIT ?)", state)
        rows = self.query("SELECT id, at, name FROM row ORDER BY id")
        return Triggered([self.event(*row) for row in rows], len(rows)) if rows else NotTriggered(0)


def test_N2_queue_that_acknowledges_by_number_fails_the_contract(judge):
    """poll(0) fires a, b comes, poll(1) fires b, its commit fails, poll(1) again: b is gone."""
    check = "test_nothing_is_lost_when_a_commit_fails"
    failed, _ = judge(AcknowledgesByNumber, [check])
    assert "nothing that is taken from the external source" in " ".join(failed[check].split())


class TestAcknowledgesById(RowsContract):
    """A sound queue: what the poll before has found is removed by its identity."""

    class Queue(Rows):
        open = AcknowledgesByNumber.open

        def init(self):
            return []

        def poll(self, state):
            for number in state:
                self.query("DELETE FROM row WHERE id = ?", number)
            rows = self.query("SELECT id, at, name FROM row ORDER BY id")
            found = [self.event(*row) for row in rows if row[0] not in state]
            return Triggered(found, [row[0] for row in rows]) if rows else NotTriggered([])

    sensor_class = Queue


@fails("test_a_replay_gives_the_same_keys", "the same instance found")
class KeysByChance(Rows):
    def event(self, number, at, name):
        return Event(name, key=str(uuid.uuid4()))


@fails("test_a_replay_gives_the_same_keys", "the same instance found")
class PutsTheTimeIntoThePayload(Rows):
    def event(self, number, at, name):
        return Event(name, payload={"found_at": self.context.clock.now().isoformat()})


@fails("test_the_state_it_is_given_is_not_changed", "and made of it")
class ChangesTheState(Rows):
    def poll(self, state):
        rows = self.read(state)
        if not rows:
            return NotTriggered(state)
        state.update(self.after(rows))
        return Triggered([self.event(*row) for row in rows], state)


@fails("test_the_state_it_is_given_is_not_changed", "'names': {")
class NotesInTheState(Rows):
    """What it notes is not even JSON, and is gone from what it returns."""

    def poll(self, state):
        outcome = super().poll(dict(state))
        state["names"] = {"any"}
        return outcome


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])
