"""Runners in the store: known, renewed, stopped, alive or not."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flowstone_core.model.clock import SystemClock
from flowstone_core.model.engine import RunnerCondition, RunnerInfo

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
ONE = RunnerInfo("one", "north", 11, "machine a", "0.1", NOW, NOW + LEASE)
TWO = RunnerInfo("two", "south", 22, "machine b", "0.1", NOW + LEASE, NOW + 2 * LEASE)


@pytest.fixture
def runners(store):
    store.runners.register(TWO)
    store.runners.register(ONE)
    return store


def test_runners_come_back_as_they_were_given_by_their_start(runners):
    assert runners.runners.all() == [ONE, TWO]


def test_runners_of_one_machine(runners):
    assert runners.runners.all(machine="machine b") == [TWO]
    assert runners.runners.all(machine="machine") == []


def test_a_runner_lives_until_the_end_of_its_lease_and_not_at_it(runners):
    just_before = ONE.lease_until - timedelta(microseconds=1)
    assert runners.runners.all(alive_at=just_before) == [ONE, TWO]
    assert runners.runners.all(alive_at=ONE.lease_until) == [TWO]


def test_beat_renews_the_lease_of_one_and_stores_its_condition(runners):
    condition = RunnerCondition(3, "hangs", blocked=True, clock_offset=-0.5)
    assert runners.runners.beat("one", NOW, 5 * LEASE, condition) is not None
    renewed = replace(ONE, lease_until=NOW + 5 * LEASE, beat_at=NOW, **asdict(condition))
    assert runners.runners.all() == [renewed, TWO]


def test_beat_answers_with_the_time_of_the_database(runners, backend):
    asked_at = SystemClock().now()
    answered_at = runners.runners.beat("one", NOW, LEASE).answered_at
    if backend == "sqlite":
        assert answered_at is None
        assert runners.now() is None
    else:
        assert asked_at - timedelta(seconds=1) < answered_at < runners.now()


def test_unknown_or_stopped_runner_is_not_renewed(runners):
    runners.runners.stop("one", NOW)
    assert runners.runners.beat("one", NOW, 5 * LEASE) is None
    assert runners.runners.beat("three", NOW, 5 * LEASE) is None
    assert runners.runners.all() == [replace(ONE, stopped_at=NOW), TWO]


def test_runner_whose_lease_has_ended_is_not_renewed(runners):
    assert runners.runners.beat("one", ONE.lease_until, LEASE) is None
    assert runners.runners.all() == [ONE, TWO]
    assert runners.runners.beat("one", ONE.lease_until - timedelta(microseconds=1), LEASE)


def test_stopped_runner_is_dead_and_keeps_its_first_stop_time(runners):
    runners.runners.stop("one", NOW)
    runners.runners.stop("one", NOW + LEASE)
    assert runners.runners.all(alive_at=NOW) == [TWO]
    assert runners.runners.all()[0].stopped_at == NOW


def test_second_registration_replaces_the_runner(runners):
    runners.runners.stop("one", NOW)
    again = replace(ONE, lease_until=NOW + 3 * LEASE)
    runners.runners.register(again)
    assert runners.runners.all() == [again, TWO]


def test_stopping_frees_the_sensors_of_that_runner_only(runners):
    runners.sensors.declare(["a", "b"], NOW)
    runners.sensors.claim("one", ["a"], NOW)
    runners.sensors.claim("two", ["b"], NOW)
    runners.runners.stop("one", NOW)
    assert set(runners.survey("two", NOW).sensors.free) == {"a"}


def test_times_are_given_back_in_utc_whatever_zone_they_were_in(store):
    kolkata = timezone(timedelta(hours=5, minutes=30))
    store.runners.register(replace(ONE, lease_until=ONE.lease_until.astimezone(kolkata)))
    (found,) = store.runners.all()
    assert found.lease_until == ONE.lease_until
    assert found.lease_until.tzinfo is UTC


def test_times_without_a_zone_are_refused(store):
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(Exception, match="must have a time zone"):
        store.runners.register(replace(ONE, lease_until=naive))
    assert store.runners.all() == []


@pytest.mark.parametrize("moment", [FIRST, LAST], ids=["first", "last"])
def test_the_first_and_the_last_moment_can_be_kept(store, moment):
    info = replace(ONE, lease_until=moment)
    store.runners.register(info)
    assert store.runners.all() == [info]


def test_survey_shows_the_runners_that_have_not_stopped(runners):
    runners.runners.register(replace(ONE, role="workers"), workload="digest")
    runners.runners.register(replace(ONE, id="stopped", stopped_at=NOW))
    one, two = runners.survey("one", ONE.lease_until).peers
    assert (one.id, one.host, one.pid, one.machine) == ("one", "north", 11, "machine a")
    assert (one.workload, one.ticks, one.gone) == ("digest", False, "its lease has ended")
    assert (two.id, two.workload, two.ticks, two.gone) == ("two", None, True, None)
    assert runners.peers.all(ONE.lease_until) == (one, two)


def test_survey_counts_owned_and_names_free_and_paused_sensors(runners):
    runners.sensors.declare(["a", "b", "c", "d"], NOW)
    runners.sensors.claim("one", ["a", "b"], NOW)
    runners.sensors.pause("c")
    for runner, count in (("one", 2), ("two", 0), ("unheard", 0)):
        found = runners.survey(runner, NOW).sensors
        assert (found.count, found.free, found.paused) == (count, {"d": None}, {"c"})


def test_retiring_spares_a_runner_that_renewed_its_lease(runners):
    late = ONE.lease_until + timedelta(days=30)
    runners.sensors.declare(["a", "b"], NOW)
    runners.sensors.claim("one", ["a"], NOW)
    runners.sensors.claim("two", ["b"], NOW)
    runners.runners.beat("two", NOW, timedelta(days=60))
    assert runners.peers.retire(["one", "two", "unheard"], late) == {"one"}
    assert set(runners.survey("two", late).sensors.free) == {"a"}
    # It witnessed no time after its lease.
    assert runners.runners.all()[0].stopped_at == ONE.lease_until
    assert runners.peers.retire(["one"], late) == set()
    assert runners.runners.beat("one", NOW, LEASE) is None


def test_orphans_are_released_whatever_became_of_their_owners(runners):
    runners.sensors.declare(["a", "b", "c"], NOW)
    runners.sensors.claim("one", ["a"], NOW)
    runners.sensors.claim("two", ["b"], NOW)
    runners.sensors.claim("unheard", ["c"], NOW)
    assert runners.peers.release_orphans(NOW) == 1
    assert runners.peers.release_orphans(ONE.lease_until) == 1
    assert set(runners.survey("two", NOW).sensors.free) == {"a", "c"}


def test_settings_of_some_runners_are_read(runners):
    runners.runners.register(ONE, "1")
    runners.runners.register(replace(ONE, id="three"), "3")
    assert runners.runners.loaded_by({"one", "two", "unheard"}) == {"one": "1"}
