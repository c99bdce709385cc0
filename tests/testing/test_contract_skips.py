"""Sensors that skip in silence, or read on past their deadline: the checks find each."""

from __future__ import annotations

import functools
import threading

import pytest

from flowstone_core import Skipped
from flowstone_core.testing import SensorContract
from tests.testing.rows import Broken, Paged, PagedContract, assert_fault_found, noting

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN, contract=PagedContract)
LEFT = []


class TestPaged(PagedContract):
    """A sound sensor that leaves something out, under pytest itself."""


@fails("test_skipped_items_are_told_once", "was left out for good, and no tick tells it")
class SkipsInSilence(Paged):
    def skipped(self, rows):
        return []


@fails("test_skipped_items_are_told_once", "the ticks count 1 items")
class CountsTheFirstOnly(Paged):
    def skipped(self, rows):
        return super().skipped(rows[:1])


@fails("test_skipped_items_are_told_once", "the ticks name none of them: a temporary name (2)")
class NamesNoExample(Paged):
    def skipped(self, rows):
        return [Skipped("a temporary name", len(rows))] if rows else []


@fails("test_skipped_items_are_told_once", "is left out for good, and it fired")
class FiresForAll(Paged):
    def poll(self, state):
        return super(Paged, self).poll(state)


@fails("test_skipped_items_are_told_once", "Given the same state again")
class TellsOnceInItsLife(Paged):
    told = False

    def skipped(self, rows):
        skipped = [] if self.told else super().skipped(rows)
        self.told = self.told or bool(rows)
        return skipped


@fails("test_skipped_items_are_told_once", "was told again, and nothing was changed outside")
class TellsAgainAfterARestart(Paged):
    fresh = True

    def poll(self, state):
        fresh, self.fresh = self.fresh, False
        outcome = super().poll(state)
        if not fresh or outcome.skipped:
            return outcome
        old = self.query("SELECT id, at, name FROM row WHERE name LIKE 'tmp%'")
        return type(outcome)(
            *([outcome.events] if hasattr(outcome, "events") else []),
            state=outcome.state,
            skipped=self.skipped(old),
        )


@fails("test_skipped_items_are_told_once", "was not found beside what was left out")
class LeavesOutWhatIsBeside(Paged):
    """A page with a temporary name in it is left out as a whole, and told as one."""

    def event(self, number, at, name):
        return super().event(number, at, name)

    def poll(self, state):
        outcome = super().poll(state)
        if outcome.skipped:
            return type(outcome)([], outcome.state, skipped=outcome.skipped)
        return outcome


@fails("test_a_poll_stops_at_its_deadline", "poll read on after its deadline", patience=0.5)
class ReadsOn(Paged):
    def before_page(self):
        pass


@fails("test_a_poll_stops_at_its_deadline", "threads went on: 'reader'", patience=0.2)
class LeavesAReader(Paged):
    """Its deadline is kept by the poll, and by its thread it is not."""

    def before_page(self):
        try:
            super().before_page()
        except TimeoutError:
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, name="reader", daemon=True)
            thread.start()
            LEFT.append((stop, thread))
            raise


@fails("test_a_poll_stops_at_its_deadline", "which had come before, was no longer found")
class TakesItsDeadlineForTheEnd(Paged):
    """What was read before the deadline is forgotten, and taken for known."""

    def read(self, state):
        try:
            return super().read(state)
        except TimeoutError:
            return [(10**9, "9999-01-01", "the end")]


@pytest.fixture(autouse=True)
def put_away():
    yield
    for stop, thread in LEFT:
        stop.set()
        thread.join()
    LEFT.clear()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])


def test_sound_sensor_that_leaves_something_out_passes_every_check(judge):
    assert judge(Paged, contract=PagedContract) == ({}, {})


class Reticent(PagedContract):
    """It does not say if anything is left out, or where the source ends."""

    change_to_skip = SensorContract.change_to_skip
    endless_source = SensorContract.endless_source


CHECKS = ["test_skipped_items_are_told_once", "test_a_poll_stops_at_its_deadline"]


def test_sensor_without_a_word_on_what_it_skips_fails(judge):
    failed, skipped = judge(Paged, CHECKS, contract=Reticent)
    assert skipped == {}
    for check, name in zip(CHECKS, ("change_to_skip", "endless_source"), strict=True):
        assert f"the contract has no {name}, and no reason why none is needed" in failed[check]
        assert f'not_applicable = {{"{name}": "' in failed[check]


def test_sensor_that_never_skips_says_so_with_a_reason(judge):
    excuses = {"change_to_skip": "each row fires", "endless_source": "it is one query"}
    failed, skipped = judge(Paged, CHECKS, contract=Reticent, not_applicable=excuses)
    assert failed == {}
    assert list(skipped.values()) == [
        "does not apply: each row fires",
        "does not apply: it is one query",
    ]
