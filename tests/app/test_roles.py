"""Roles of runners: one ticks, another materializes, and the status shows who does what."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig, Triggered
from flowstone_core.errors import ValidationError
from flowstone_core.model.clock import StoreClock, SystemClock
from flowstone_core.testing import FakeClock


class Once(Sensor[SensorConfig, object]):
    """Fires at its first poll."""

    def init(self):
        return 0

    def poll(self, state):
        return Triggered("eu", 1) if state == 0 else NotTriggered(1)


@pytest.fixture
def pipeline():
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    pipeline.sensor("feed", Once, asset="orders", every="1h")
    pipeline.schedule("orders", every="1 hour", name="hourly")
    return pipeline


def states(flow):
    return [str(item.state) for item in flow.materializations.latest()]


def test_one_role_ticks_and_the_other_materializes(pipeline, store_url):
    with Flowstone(pipeline, store=store_url, role="workers") as hands:
        assert hands.run(once=True)
        assert hands.ticks() == []
        with Flowstone(pipeline, store=store_url, role="sensors") as eyes:
            assert eyes.run(once=True)
            assert [tick.source for tick in eyes.ticks()] == ["sensor:feed"]
            assert eyes.run(once=True)
        assert states(hands) == ["pending"]
        assert hands.run(once=True)
        assert states(hands) == ["completed"]
        assert hands.run(once=True)
        assert [tick.source for tick in hands.ticks()] == ["sensor:feed"]


def test_unknown_role_is_refused_with_the_known_ones(pipeline):
    with pytest.raises(ValidationError, match="role: must be all, sensors or workers"):
        Flowstone(pipeline, role="worker")


@pytest.mark.parametrize(
    ("role", "engine", "sensors", "schedules", "lacking"),
    [
        ("all", "local", 1, 1, []),
        ("sensors", None, 1, 1, ["no living runner runs materializations"]),
        ("workers", "local", 0, 0, ["no living runner ticks sensors or schedules"]),
    ],
)
def test_status_shows_role_engine_and_what_each_runner_owns(
    pipeline, store_url, role, engine, sensors, schedules, lacking
):
    seen = []

    def look(context):
        seen.append(other.status())

    pipeline.asset(name="looking")(look)
    with (
        Flowstone(pipeline, store=store_url, role=role) as flow,
        Flowstone(pipeline, store=store_url) as other,
    ):
        runner = flow._wiring().supervisor(flow.schedules.factory, lambda _: None)
        runner._heartbeat.start()
        runner._runner.open()
        requested = other.materialize("orders", "north")
        found = other.status()
        runner._runner.stop(flow.project.run.grace)
        runner._heartbeat.stop()
    (status,) = found.runners
    assert (status.role, status.engine) == (role, engine)
    assert (status.sensors, status.schedules, status.running) == (sensors, schedules, 0)
    assert [warning.partition(" (")[0] for warning in found.warnings()] == lacking
    assert status.beat_at is not None
    assert found.oldest_due == requested.requested_at


def test_status_counts_what_runs(pipeline, store_url):
    seen = []
    pipeline.asset(name="looking")(lambda context: seen.append(flow.status()))
    with Flowstone(pipeline, store=store_url, role="workers") as flow:
        flow.materialize("looking", "north")
        assert flow.run(once=True)
    ((runner,),) = [found.runners for found in seen]
    assert runner.running == 1
    assert seen[0].oldest_due is None


class WrongClock(SystemClock):
    """A clock that is a minute ahead."""

    def now(self):
        return super().now() + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("make_clock", "ahead"),
    [(lambda: StoreClock(WrongClock()), 60.0), (StoreClock, 0.0), (FakeClock, None)],
    ids=["wrong", "right", "of a test"],
)
def test_status_warns_of_a_wrong_clock(pipeline, store_url, backend, make_clock, ahead):
    with Flowstone(pipeline, store=store_url, clock=make_clock(), role="workers") as flow:
        requested = flow.materialize("orders", "north")
        found = flow.status()
    if backend == "sqlite" or ahead is None:
        assert found.clock_offset is None
        assert list(found.warnings()) == []
        return
    assert abs(found.clock_offset - ahead) < 1
    warned = "the clock of this machine is 60.0 s ahead of the store's"
    assert list(found.warnings()) == ([warned] if ahead else [])
    assert abs((requested.requested_at - SystemClock().now()).total_seconds()) < 30
