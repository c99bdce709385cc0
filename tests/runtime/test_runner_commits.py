"""The runner against a store that fails: nothing is lost, nothing is written twice."""

from copy import copy

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.event import Event, NotTriggered, Triggered
from flowstone_core.runtime.runner import STORE_RETRY_SECONDS
from tests.runtime.runner_house import (
    probe,
)


class Faulty:
    """The store, with faults put in front of `TickRepository.commit`."""

    def __init__(self, store):
        self._store = store
        self.faults = []
        self.commits = 0
        self.ticks = copy(store.ticks)
        self.ticks.commit = self._commit

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _commit(self, owner, commits, assets, now):
        self.commits += 1
        for fault in list(self.faults):
            fault(commits)
        return self._store.ticks.commit(owner, commits, assets, now)


def test_tick_lost_in_an_outage_is_polled_again(house, caplog):
    faulty = Faulty(house.store)
    polls = []

    def look(state):
        polls.append(state)
        return Triggered(f"p{state}", 1) if not state else NotTriggered(state)

    house.sensor("feed", probe(look), every="1h")

    def unavailable(commits):
        raise StoreUnavailableError("database is locked")

    faulty.faults.append(unavailable)
    runner = house.opened(store=faulty)
    house.pass_time(runner, 3 * STORE_RETRY_SECONDS)
    assert house.store.events.latest() == []
    assert len(polls) == 1  # what is found could not be kept: nobody looks
    faulty.faults.clear()
    runner.heartbeat.beat()
    house.pass_time(runner, STORE_RETRY_SECONDS + 1)
    assert [event.partition for event in house.store.events.latest()] == ["p0"]
    told = [record.message for record in caplog.records if record.name == "flowstone.store_outage"]
    assert told == [
        "store unavailable; polling paused until a write succeeds",
        "store available again; polling resumed",
    ]


def test_tick_refused_by_the_store_fails_alone(house):
    faulty = Faulty(house.store)

    def refuse(commits):
        if any(commit.sensor == "poison" and commit.events for commit in commits):
            raise ValueError("the value does not fit")

    faulty.faults.append(refuse)
    for name in ("poison", "good-1", "good-2"):
        house.sensor(
            name,
            probe(lambda state: Triggered("p", 1) if not state else NotTriggered(state)),
            every="1h",
        )
    runner = house.runner(store=faulty)
    runner.open()
    house.clock.advance(5)
    runner.step()
    runner.settle()
    assert {event.source for event in house.store.events.latest()} == {
        "sensor:good-1",
        "sensor:good-2",
    }
    record = house.store.sensors.get("poison")
    assert record.last_error == "ValueError: the value does not fit"
    assert record.checkpoint.state is None


def test_events_beyond_one_transaction_survive_a_fault(house):
    faulty = Faulty(house.store)

    def third_time(commits):
        if faulty.commits == 3:
            raise StoreUnavailableError("gone in the middle")

    faulty.faults.append(third_time)
    found = [Event(f"p{number:02}") for number in range(25)]
    house.sensor(
        "feed",
        probe(lambda state: Triggered(found, 1) if not state else NotTriggered(state)),
        every="1h",
        max_events=10,
    )
    runner = house.opened(store=faulty)
    assert len(house.store.events.latest(limit=100)) == 20
    assert house.store.sensors.get("feed").checkpoint.version == 0
    runner.heartbeat.beat()
    house.pass_time(runner, STORE_RETRY_SECONDS + 1)
    events = house.store.events.latest(limit=100)
    assert sorted(event.partition for event in events) == [event.partition for event in found]
    assert len(house.store.materializations.latest(limit=100)) == 25


def test_commit_with_a_lost_answer_is_resolved_by_reconciling(house):
    """The connection is lost after COMMIT: the runner must neither lose nor repeat the event."""
    faulty = Faulty(house.store)
    commit = house.store.ticks.commit
    lost = []

    def commit_then_lose(commits):
        if not lost:
            lost.append(
                commit(
                    runner.heartbeat.runner.id, commits, house.pipeline.assets, house.clock.now()
                )
            )
            raise StoreUnavailableError("the connection was lost at COMMIT")

    faulty.faults.append(commit_then_lose)
    house.sensor("feed", probe(lambda state: Triggered(f"p{state}", state + 1)), every="1h")
    runner = house.runner(store=faulty)
    runner.open()
    house.pass_time(runner, 5)
    runner.heartbeat.beat()
    house.pass_time(runner, STORE_RETRY_SECONDS + 1)
    runner.reconcile()
    house.pass_time(runner, 5)
    assert [event.partition for event in house.store.events.latest()] == ["p1", "p0"]
