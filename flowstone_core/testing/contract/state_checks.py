"""The checks of what a sensor finds, and of what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flowstone_core.model.partition import Partition
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import (
    Driver,
    PollRecord,
    healthy,
    shown,
    shown_events,
)
from flowstone_core.testing.contract.overrides import MINUTE, ContractOverrides, listed
from flowstone_core.testing.contract.violation import Violation

QUIET_POLLS = 6


class StateChecks(ContractOverrides):
    """Checks that nothing is lost, and nothing fires twice."""

    @check()
    def test_its_state_is_json(self) -> None:
        """The state that `init` and `poll` return is JSON, and unchanged by the store."""
        driver = self._driver(drained=False)
        records = [driver.poll()]
        driver.commit(records[0])
        self._make_changes(2)
        records.append(driver.poll())
        for record in records:
            if record.failed and "is not JSON" in str(record.decision.error):
                raise Violation(
                    f"{record.decision.error}.",
                    why="The state is stored as JSON, and what JSON would change is refused: "
                    "every such poll is a failed tick.",
                    remedy="Make the state of None, booleans, numbers, texts, lists and dicts "
                    "with text keys: a sorted list for a set, ISO 8601 text for a datetime.",
                )

    @check("test_its_state_is_json")
    def test_a_change_fires(self) -> None:
        """A change of the external source fires, and no poll before it fails."""
        driver = self._driver()
        changes = self._make_changes(1, driver)
        driver.drain("after a change outside")
        self._require(changes, driver, "after it was made")

    @check("test_a_change_fires")
    def test_nothing_fires_twice(self) -> None:
        """Polled again with the state that it returned, now and a day later, it finds nothing."""
        driver = self._driver()
        self._make_changes(3, driver)
        driver.drain()
        for pause in (MINUTE, timedelta(hours=1), timedelta(days=1)):
            self.clock.advance(pause)
            again = driver.tick("polled again, with nothing changed")
            if again:
                raise Violation(
                    f"polled again {pause} later, with nothing changed outside, it found "
                    f"{shown_events(again)}.",
                    why="Each event is a materialization: this one is made again and again.",
                    remedy="Remember in the state what was seen; or give the event a key that "
                    "names what was seen, since a key fires once.",
                )

    @check("test_nothing_fires_twice")
    def test_a_quiet_poll_leaves_the_state_alone(self) -> None:
        """A poll that finds nothing returns the state that it was given."""
        driver = self._driver()
        self._make_changes(1, driver)
        driver.drain()
        records: list[PollRecord] = []
        for _ in range(QUIET_POLLS):
            self.clock.advance(MINUTE)
            records.append(healthy(driver.poll()))
            driver.commit(records[-1])
        # Some of them may drop what is kept for a limited time; not all.
        if not any(record.quiet for record in records[QUIET_POLLS // 2 :]):
            last = records[-1]
            seen = f"it returned the state {shown(last.state)} for {shown(last.given_state)}"
            if last.events:
                seen = f"it found again what it had found before: {shown_events(last.events)}"
            raise Violation(
                f"nothing was changed outside, and at each poll {seen}.",
                why="A quiet tick writes nothing; this one writes to the store at every poll.",
                remedy="Return NotTriggered with the state as it was given, and keep out of it "
                "what changes by itself, such as the time of the poll.",
            )

    @check("test_nothing_fires_twice")
    def test_it_goes_on_after_a_restart(self) -> None:
        """A fresh instance with the stored state continues where the last one stopped."""
        driver = self._driver()
        self._make_changes(2, driver)
        driver.drain()
        remedy = (
            "Keep what must survive in the state. Only clients and connections belong on the "
            "instance, and init is called once in the life of a configured sensor, not at each "
            "start."
        )
        driver.restart()
        again = driver.tick("a fresh instance was given the stored state")
        if again:
            raise Violation(
                f"a fresh instance, given the stored state, found again {shown_events(again)}.",
                why="All that was found before would be made again after each restart.",
                remedy=remedy,
            )
        driver.stop()
        changes = self._make_changes(2)
        driver.restart()
        self._await(driver)
        driver.drain("a fresh instance was given the stored state")
        unseen = self._unseen(changes, driver.found)
        if unseen:
            raise Violation(
                f"{listed(unseen)}, changed while no instance was there, was not found by a "
                "fresh instance that was given the stored state.",
                why="Changes made while the runner is down would be lost.",
                remedy=remedy,
            )

    @check("test_it_goes_on_after_a_restart")
    def test_nothing_is_lost_when_a_commit_fails(self) -> None:
        """Given the same state again, the same or a fresh instance finds the same events again."""
        driver = self._driver()
        changes: list[Partition] = []
        # Replayed from states that have just fired, too, with other changes between: that finds
        # the sensor that acknowledges by position what the poll before had found.
        for count, between in ((2, 0), (1, 0), (3, 1), (2, 0)):
            changes += self._make_changes(count)
            for _ in range(self.polls_to_fire):
                first = healthy(driver.poll())
                changes += self._make_changes(between)
                driver.commit(self._replayed(driver, changes, first))
                self.settle()
        driver.drain()
        self._require(changes, driver, "after commits had failed")

    def _replayed(
        self, driver: Driver, changes: Sequence[Partition], first: PollRecord
    ) -> PollRecord:
        """Return another poll from the same state, which found what the first one found."""
        again = first
        for name, sensor in (("the same instance", driver.sensor), ("a fresh one", None)):
            self.settle()
            again = healthy(
                driver.poll(sensor or driver.new_sensor()), f"{name}, given the state again"
            )
            lost = [
                change
                for change in self._due(changes)
                if not self._unseen([change], first.events) and self._unseen([change], again.events)
            ]
            if lost:
                raise Violation(
                    f"a poll found {listed(lost)}. Given the same state again, as after a "
                    f"commit that failed, {name} found {shown_events(again.events)}.",
                    why="State and events are stored together or not at all: what is not found "
                    "again when they could not be stored is lost.",
                    remedy="Let the state that poll is given decide what is new, and nothing "
                    "else: no attribute of the instance or the class, no module's variable, and "
                    "nothing that is taken from the external source or acknowledged before the "
                    "next poll. Acknowledge in the next poll, by what identifies each item, so "
                    "that a repeated poll acknowledges nothing else.",
                )
        return again

    @check("test_nothing_is_lost_when_a_commit_fails")
    def test_a_replay_gives_the_same_keys(self) -> None:
        """Given the same state again a minute later, it finds events with the same keys."""
        driver = self._driver()
        self._make_changes(3, driver)
        first = healthy(driver.poll())
        for name, sensor in (("the same instance", driver.sensor), ("a fresh one", None)):
            self.clock.advance(MINUTE)
            self.settle()
            again = healthy(driver.poll(sensor or driver.new_sensor()))
            known = {event.key for event in first.events}
            others = [event for event in again.events if event.key not in known]
            if others:
                raise Violation(
                    f"a poll found {shown_events(first.events)}. Given the same state a while "
                    f"later, {name} found {shown_events(others)}.",
                    why="After a crash part of a poll's events may be stored already, and only "
                    "the same key tells that an event is one of them: these would fire twice.",
                    remedy="Make the key of what was seen (an id, a version, a digest), never of "
                    "chance or the time of the poll. An event without a key has one made of its "
                    "asset, partition and payload: keep chance and time out of these as well.",
                )

    @check("test_a_change_fires")
    def test_the_state_it_is_given_is_not_changed(self) -> None:
        """`poll` returns a new state, and does not modify the given one."""
        driver = self._driver()
        for count in (1, 2, 0):
            self._make_changes(count, driver)
            record = healthy(driver.poll())
            driver.commit(record)
            if record.left_state != record.given_state:
                raise Violation(
                    f"poll was given the state {shown(record.given_state)} and made of it "
                    f"{shown(record.left_state)}.",
                    why="A poll that fails half-way must leave nothing behind; FlowStone hands "
                    "in a copy, but other callers of poll do not.",
                    remedy="Build a new state: [*state, item], {**state, name: value}, or "
                    "copy.deepcopy(state) first.",
                )
