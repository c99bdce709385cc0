"""The checks of what a sensor finds, and of what it remembers."""

from __future__ import annotations

from datetime import timedelta

from flowstone_core.testing.contract.driver import PollRecord, healthy, shown, shown_events
from flowstone_core.testing.contract.overrides import MINUTE, ContractOverrides, listed
from flowstone_core.testing.contract.violation import Violation, check

QUIET_POLLS = 6


class StateChecks(ContractOverrides):
    """Checks that nothing is lost, and nothing fires twice."""

    @check()
    def test_its_state_is_json(self) -> None:
        """What `init` and `poll` return as the state comes back from the store as it was."""
        bench = self._bench(drained=False)
        looks = [bench.look()]
        bench.commit(looks[0])
        self._changes(2)
        looks.append(bench.look())
        for look in looks:
            if look.failed and "is not JSON" in str(look.decision.error):
                raise Violation(
                    f"{look.decision.error}.",
                    why="The state is stored as JSON, and what JSON would change is refused: "
                    "every such poll is a failed tick.",
                    remedy="Make the state of None, booleans, numbers, texts, lists and dicts "
                    "with text keys: a sorted list for a set, ISO 8601 text for a datetime.",
                )

    @check("test_its_state_is_json")
    def test_a_change_fires(self) -> None:
        """What was changed outside is found, and before it nothing fails."""
        bench = self._bench()
        changes = self._changes(1, bench)
        bench.drain("after a change outside")
        self._require(changes, bench, "after it was made")

    @check("test_a_change_fires")
    def test_nothing_fires_twice(self) -> None:
        """Polled again, now and a day later, with the state that it returned, it finds nothing."""
        bench = self._bench()
        self._changes(3, bench)
        bench.drain()
        for pause in (MINUTE, timedelta(hours=1), timedelta(days=1)):
            self.clock.advance(pause)
            again = bench.tick("polled again, with nothing changed")
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
        bench = self._bench()
        self._changes(1, bench)
        bench.drain()
        looks: list[PollRecord] = []
        for _ in range(QUIET_POLLS):
            self.clock.advance(MINUTE)
            looks.append(healthy(bench.look()))
            bench.commit(looks[-1])
        # What is remembered for a time may be forgotten by some of them; not by all.
        if not any(look.quiet for look in looks[QUIET_POLLS // 2 :]):
            last = looks[-1]
            seen = f"it returned the state {shown(last.state)} for {shown(last.given)}"
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
        """A fresh instance, given the stored state, goes on where the last one was."""
        bench = self._bench()
        self._changes(2, bench)
        bench.drain()
        remedy = (
            "Keep what must survive in the state. Only clients and connections belong on the "
            "instance, and init is called once in the life of a configured sensor, not at each "
            "start."
        )
        bench.restart()
        again = bench.tick("a fresh instance was given the stored state")
        if again:
            raise Violation(
                f"a fresh instance, given the stored state, found again {shown_events(again)}.",
                why="All that was found before would be made again after each restart.",
                remedy=remedy,
            )
        bench.stop()
        changes = self._changes(2)
        bench.restart()
        self._await(bench)
        bench.drain("a fresh instance was given the stored state")
        unseen = self._unseen(changes, bench.found)
        if unseen:
            raise Violation(
                f"{listed(unseen)}, changed while no instance was there, was not found by a "
                "fresh instance that was given the stored state.",
                why="What happens while the runner is down would be lost.",
                remedy=remedy,
            )

    @check("test_it_goes_on_after_a_restart")
    def test_nothing_is_lost_when_a_commit_fails(self) -> None:
        """Given the same state again, the same instance, or a fresh one, finds the same again."""
        bench = self._bench()
        changes = self._changes(2, bench)
        first = healthy(bench.look())
        for name, sensor in (("the same instance", bench.sensor), ("a fresh one", None)):
            self.settle()
            again = healthy(bench.look(sensor or bench.fresh()), f"{name}, given the state again")
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
                    "nothing that is taken from the source or acknowledged before the next poll.",
                )
        self.settle()
        bench.drain()
        self._require(changes, bench, "after a commit had failed")

    @check("test_nothing_is_lost_when_a_commit_fails")
    def test_a_replay_gives_the_same_keys(self) -> None:
        """Given the same state again a minute later, it finds events with the same keys."""
        bench = self._bench()
        self._changes(3, bench)
        first = healthy(bench.look())
        for name, sensor in (("the same instance", bench.sensor), ("a fresh one", None)):
            self.clock.advance(MINUTE)
            self.settle()
            again = healthy(bench.look(sensor or bench.fresh()))
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
        """`poll` returns a new state, and leaves the one that it was given as it was."""
        bench = self._bench()
        for count in (1, 2, 0):
            self._changes(count, bench)
            look = healthy(bench.look())
            bench.commit(look)
            if look.left != look.given:
                raise Violation(
                    f"poll was given the state {shown(look.given)} and made of it "
                    f"{shown(look.left)}.",
                    why="A poll that fails half-way must leave nothing behind; FlowStone hands "
                    "in a copy, but whoever else calls poll does not.",
                    remedy="Build a new state: [*state, item], {**state, name: value}, or "
                    "copy.deepcopy(state) first.",
                )
