"""Sensors in the store: declared, claimed, paused, resumed, reset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import ConflictError, NotFoundError, StoreError
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome
from flowstone_core.store import SensorRecord, schema
from tests.statements import listening

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
NEW = SensorCheckpoint()


@pytest.fixture
def sensors(store):
    for name in ("one", "two"):
        store.runners.register(
            RunnerInfo(name, "host", 1, "machine", "0.1", NOW, NOW + timedelta(seconds=30))
        )
    store.sensors.declare(["a", "b"], NOW)
    return store


@pytest.fixture
def writes(monkeypatch):
    """Collect the statements that write, from here on."""
    found = []

    def collect(statement):
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")):
            found.append(statement)

    with listening(collect):
        yield found


def unowned(store):
    found = store.survey("one", NOW).sensors
    return {*found.free, *found.paused}


def test_declared_sensor_has_no_state_and_no_owner(sensors):
    assert sensors.sensors.get("a") == SensorRecord(
        "a", NEW, paused=False, owner=None, created_at=NOW
    )
    assert [record.name for record in sensors.sensors.all()] == ["a", "b"]


def test_declaring_again_changes_nothing(sensors):
    sensors.sensors.claim("one", ["a"], NOW)
    before = sensors.sensors.all()
    sensors.sensors.declare(["a", "b", "c"], NOW + timedelta(days=1))
    assert sensors.sensors.all(["b", "a"]) == before
    assert sensors.sensors.get("c").created_at == NOW + timedelta(days=1)


def test_declare_of_known_names_writes_nothing(sensors, writes):
    sensors.sensors.declare(["b", "a"], NOW)
    sensors.sensors.declare([], NOW)
    assert [text for text in writes if not text.startswith("BEGIN")] == []


def test_many_sensors_are_declared_and_claimed_at_once(sensors):
    names = [f"sensor-{number:04}" for number in range(1_203)]
    sensors.sensors.declare(iter(names), NOW)
    assert set(sensors.sensors.claim("one", iter(names), NOW)) == set(names)
    assert [record.name for record in sensors.sensors.all(names)] == names
    assert unowned(sensors) == {"a", "b"}


def test_claim_takes_free_sensors(sensors):
    assert sensors.sensors.claim("one", ["a", "unheard"], NOW) == {"a": NEW}
    assert sensors.sensors.claim("two", ["a", "b"], NOW) == {"b": NEW}
    assert [record.owner for record in sensors.sensors.all()] == ["one", "two"]
    assert unowned(sensors) == set()


def test_claiming_nothing_writes_nothing(sensors, writes):
    sensors.sensors.claim("one", ["a"], NOW)
    writes.clear()
    assert sensors.sensors.claim("two", ["a"], NOW) == {}
    assert [text for text in writes if not text.startswith("BEGIN")] == []


def test_sensors_of_a_dead_runner_are_free_when_its_lease_expires(sensors):
    sensors.sensors.claim("one", ["a"], NOW)
    sensors.runners.register(
        RunnerInfo("three", "host", 1, "machine", "0.1", NOW, NOW + timedelta(days=1))
    )
    just_before = NOW + timedelta(seconds=29.999999)
    assert sensors.sensors.claim("three", ["a"], just_before) == {}
    assert sensors.sensors.claim("three", ["a"], NOW + timedelta(seconds=30)) == {"a": NEW}


def test_the_sensors_of_a_runner_that_was_never_known_are_free(sensors):
    sensors.sensors.claim("ghost", ["a"], NOW)
    assert sensors.sensors.claim("one", ["a"], NOW) == {"a": NEW}


def test_second_claim_by_the_owner_returns_the_checkpoint(bench):
    bench.commit(bench.tick("feed", state='"seen"'))
    again = bench.store.sensors.claim("one", ["feed"], bench.now)
    assert again == {"feed": SensorCheckpoint(1, '"seen"', polled=True)}


def test_all_that_a_sensor_remembers_comes_back(bench):
    after = {
        "version": 7,
        "state": '{"größe":"𝄞\\u0000"}',
        "polled": True,
        "failures": 3,
        "not_before": bench.now + timedelta(microseconds=1),
        "broken": True,
    }
    bench.commit(bench.tick("feed", **after))
    assert bench.store.sensors.get("feed").checkpoint == SensorCheckpoint(**after)


def test_paused_sensor_has_no_owner_and_cannot_be_claimed(sensors):
    sensors.sensors.claim("one", ["a"], NOW)
    record = sensors.sensors.pause("a")
    assert (record.paused, record.owner) == (True, None)
    assert unowned(sensors) == {"a", "b"}
    assert sensors.sensors.claim("one", ["a"], NOW) == {}
    assert sensors.sensors.pause("a") == record


def test_resumed_sensor_continues_from_its_checkpoint(bench):
    bench.commit(bench.tick("feed", state="5"))
    before = bench.store.sensors.pause("feed")
    record = bench.store.sensors.resume("feed")
    assert (record.paused, record.owner) == (False, None)
    assert record.checkpoint == before.checkpoint
    assert bench.store.sensors.claim("one", ["feed"], bench.now) == {"feed": record.checkpoint}


def test_resetting_forgets_all_but_the_version_which_goes_on(bench):
    bench.commit(bench.tick("feed", error="no", failures=3, not_before=bench.now, broken=True))
    before = bench.store.sensors.get("feed")
    record = bench.store.sensors.reset("feed")
    assert record.checkpoint == SensorCheckpoint(version=before.checkpoint.version + 1)
    assert record.owner is None
    assert (record.last_error, record.last_tick_at) == ("no", bench.now)


def test_resetting_a_paused_sensor_leaves_it_paused(sensors):
    sensors.sensors.pause("a")
    assert sensors.sensors.reset("a").paused is True


def test_a_reset_leaves_keys_taken_unless_it_is_to_forget_them(bench):
    bench.fire(bench.event("k"))
    bench.store.sensors.reset("feed")
    bench.checkpoint = bench.store.sensors.claim("one", ["feed"], bench.now)
    assert bench.fire(bench.event("k")).events == ()


def test_forgotten_keys_can_be_used_again_and_the_history_is_kept(bench):
    bench.fire(bench.event("k"), bench.event("k#1"))
    bench.fire(bench.event("k"), sensor="drop")
    for times in (2, 3):
        bench.store.sensors.reset("feed", forget_keys=True)
        bench.checkpoint |= bench.store.sensors.claim("one", ["feed"], bench.now)
        assert [event.key for event in bench.fire(bench.event("k"), bench.event("k#1")).events] == [
            "k",
            "k#1",
        ]
        keys = [event.key for event in bench.store.events.latest(source="sensor:feed")]
        assert sorted(keys) == ["k"] * times + ["k#1"] * times
    assert bench.fire(bench.event("k"), sensor="drop").events == ()


@pytest.mark.parametrize("action", ["get", "pause", "resume", "reset"])
def test_a_sensor_that_is_not_there_is_named_with_the_nearest(bench, action):
    with pytest.raises(NotFoundError, match=r"unknown sensor 'fed'.*did you mean 'feed'"):
        getattr(bench.store.sensors, action)("fed")


def test_the_first_sensor_that_is_asked_for_is_explained(store):
    with pytest.raises(NotFoundError, match="a sensor is stored when a runner starts"):
        store.sensors.get("feed")


def test_the_last_tick_shows_in_the_record(bench):
    first = bench.now
    bench.commit(bench.tick("feed"))
    bench.later(minutes=1)
    bench.commit(bench.tick("feed", error="down", failures=1))
    record = bench.store.sensors.get("feed")
    assert (record.last_tick_at, record.last_outcome) == (bench.now, TickOutcome.FAILED)
    assert (record.last_good_at, record.last_error) == (first, "down")
    bench.later(minutes=1)
    bench.commit(bench.tick("feed"))
    record = bench.store.sensors.get("feed")
    assert (record.last_good_at, record.last_error) == (bench.now, None)


def test_the_database_itself_refuses_a_paused_sensor_with_an_owner(sensors):
    sensors.sensors.claim("one", ["a"], NOW)
    paused = sa.update(schema.sensors).values(paused=True)
    with pytest.raises(StoreError, match=r"(?i)check constraint"):
        sensors._database.write(lambda connection: connection.execute(paused))


@pytest.mark.parametrize("polled", ["a", "b"])
def test_X9_sensor_that_a_live_runner_polls_is_not_renamed(sensors, polled):
    sensors.sensors.claim("one", [polled], NOW)
    with pytest.raises(ConflictError, match=f"'{polled}': a runner polls it"):
        sensors.sensors.rename("a", "b", NOW)
    sensors.sensors.rename("a", "b", NOW + timedelta(days=1))
    assert [record.name for record in sensors.sensors.all()] == ["b"]


def test_X9_sensor_that_a_live_runner_polls_is_not_removed(sensors):
    sensors.sensors.claim("one", ["a"], NOW)
    with pytest.raises(ConflictError, match="'a': a runner polls it"):
        sensors.sensors.remove("a", NOW)
    sensors.sensors.remove("b", NOW)
    assert [record.name for record in sensors.sensors.all()] == ["a"]


def test_quiet_reasons_of_own_sensors_are_recorded_by_one_statement(sensors, writes):
    sensors.sensors.declare(["c"], NOW)
    sensors.sensors.claim("one", ["a", "c"], NOW)
    sensors.sensors.claim("two", ["b"], NOW)
    sensors.sensors.record_quiet("one", {"a": "nothing new", "b": "?", "c": "late"}, NOW)
    del writes[:]
    sensors.sensors.record_quiet("one", {"a": "", "b": "?", "c": "later"}, NOW)
    updates = [text for text in writes if text.startswith("UPDATE")]
    found = {
        record.name: (record.quiet_reason, record.quiet_since) for record in sensors.sensors.all()
    }
    assert found == {"a": (None, None), "b": (None, None), "c": ("later", NOW)}
    assert len(updates) == 1
