"""Flowstone, the Python API: from declaration to completed partition without a file."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from flowstone_core import (
    Event,
    Flowstone,
    NotTriggered,
    Pipeline,
    Sensor,
    SensorConfig,
    Triggered,
    ValidationError,
)
from flowstone_core.app.status import SensorHealth
from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import TickOutcome

PATIENCE = 300


class Days(Sensor[SensorConfig, int]):
    """Finds two days once."""

    def init(self):
        return 0

    def poll(self, state):
        if state:
            return NotTriggered(state)
        days = [Event(date(2025, 1, day), payload={"rows": day}) for day in (13, 14)]
        return Triggered(days, 1)


@pytest.fixture
def pipeline():
    pipeline = Pipeline("shop")

    @pipeline.asset
    def raw_orders(context):
        return {"rows": sum(payload["rows"] for payload in context.payloads)}

    @pipeline.asset(depends_on=["raw_orders"], follow=True)
    def daily_report(context):
        return {"rows": context.upstream["raw_orders"]["rows"], "date": str(context.partition)}

    pipeline.sensor("days", Days, asset="raw_orders", every="1s")
    return pipeline


@pytest.fixture
def flow(pipeline, tmp_path):
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flow.db'}") as flow:
        yield flow


def made(flow):
    return {
        (item.asset, item.partition): item.metadata
        for item in flow.materializations.latest(state=MaterializationState.COMPLETED)
    }


def test_run_once_takes_events_to_the_last_follower(flow):
    assert flow.run(once=True)
    assert made(flow) == {
        ("raw_orders", "d:2025-01-13"): {"rows": 13},
        ("raw_orders", "d:2025-01-14"): {"rows": 14},
        ("daily_report", "d:2025-01-13"): {"rows": 13, "date": "2025-01-13"},
        ("daily_report", "d:2025-01-14"): {"rows": 14, "date": "2025-01-14"},
    }
    assert {event.source for event in flow.events()} == {"sensor:days", "asset:raw_orders"}
    assert [tick.outcome for tick in flow.ticks()] == [TickOutcome.TRIGGERED]


def test_second_run_starts_nothing_twice(flow):
    flow.run(once=True)
    flow.run(once=True)
    assert len(flow.materializations.latest()) == 4
    assert all(item.attempt == 1 for item in flow.materializations.latest())


def test_materialize_runs_dependencies_first(flow):
    flow.sensors.pause("days")
    asked = flow.materialize("daily_report", date(2025, 1, 20))
    assert asked.state is MaterializationState.PENDING
    flow.run(once=True)
    assert flow.materializations.get(asked.id).state is MaterializationState.COMPLETED
    assert ("raw_orders", "d:2025-01-20") in made(flow)


def test_run_ends_after_its_duration_or_by_stop(flow):
    assert flow.run(duration=timedelta(0))
    ended = threading.Event()

    def run():
        flow.run()
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not flow.materializations.latest(
        asset="daily_report", state=MaterializationState.COMPLETED
    ):
        assert thread.is_alive()
    flow.stop()
    assert ended.wait(PATIENCE)
    assert not flow.status().runners


def test_stop_ends_a_run_of_what_is_due(tmp_path):
    pipeline, started, released = Pipeline("shop"), threading.Event(), threading.Event()

    @pipeline.asset
    def endless(context):
        started.set()
        released.wait(PATIENCE)

    store = f"sqlite:///{tmp_path / 'flow.db'}"
    with Flowstone(pipeline, store=store, grace="0s") as flow, ThreadPoolExecutor(1) as pool:
        flow.materialize("endless", "north")
        running = pool.submit(flow.run, once=True)
        try:
            assert started.wait(PATIENCE)
            flow.stop()
            assert running.result(PATIENCE) is False
        finally:
            released.set()


def test_retry_and_cancel(flow, pipeline):
    asked = flow.materialize("raw_orders", "north")
    assert flow.materializations.cancel(asked.id).state is MaterializationState.CANCELLED
    with pytest.raises(ConflictError, match="cancelled"):
        flow.materializations.cancel(asked.id)
    assert flow.materializations.retry(asked.id).state is MaterializationState.PENDING
    flow.run(once=True)
    assert flow.materializations.get(asked.id).state is MaterializationState.COMPLETED
    assert [attempt.number for attempt in flow.materializations.attempts(asked.id)] == [1]
    assert [event.source for event in flow.materializations.events(asked.id)] == ["manual"]
    with pytest.raises(ConflictError, match="completed"):
        flow.materializations.retry(asked.id)


def test_pause_resume_reset_and_try(flow):
    assert flow.sensors.get("days").health is SensorHealth.NEW
    trial = flow.sensors.poll("days")
    assert [event.partition for event in trial.decision.commits[0].events] == [
        "d:2025-01-13",
        "d:2025-01-14",
    ]
    assert flow.events() == []
    flow.sensors.pause("days")
    assert flow.sensors.get("days").health is SensorHealth.PAUSED
    flow.run(once=True)
    assert flow.events() == []
    flow.sensors.resume("days")
    flow.run(once=True)
    assert flow.sensors.get("days").health is SensorHealth.OK
    assert flow.sensors.state("days") == "1"
    assert flow.sensors.poll("days").decision.commits == ()
    flow.sensors.reset("days")
    assert flow.sensors.state("days") is None
    flow.run(once=True)
    assert len(flow.events(source="sensor:days")) == 4


def test_unknown_names_raise_not_found_with_a_hint(flow):
    with pytest.raises(NotFoundError, match="did you mean 'raw_orders'"):
        flow.materialize("raw_order", "x")
    for call in (
        flow.sensors.pause,
        flow.sensors.resume,
        flow.sensors.reset,
        flow.sensors.get,
        flow.sensors.poll,
        flow.sensors.state,
    ):
        with pytest.raises(NotFoundError, match="did you mean 'days'"):
            call("day")
    with pytest.raises(NotFoundError):
        flow.materializations.get(99)
    with pytest.raises(ValidationError, match="int as a partition"):
        flow.materialize("raw_orders", 7)


def test_undeclared_sensor_is_listed_and_can_be_paused(flow, tmp_path):
    flow.run(once=True)
    with Flowstone(store=f"sqlite:///{tmp_path / 'flow.db'}") as later:
        assert later.sensors.get("days").health is SensorHealth.UNDECLARED
        assert later.sensors.state("days") == "1"
        later.sensors.pause("days")


def test_status_at_a_glance(flow):
    flow.run(once=True)
    status = flow.status()
    assert status.materializations[MaterializationState.COMPLETED] == 4
    assert [sensor.health for sensor in status.sensors] == [SensorHealth.OK]
    assert status.store.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("poll", "health"),
    [("fail", SensorHealth.FAILING), ("give_up", SensorHealth.BROKEN)],
)
def test_sensor_health_gives_the_reason(tmp_path, poll, health):
    class Bad(Sensor[SensorConfig, int]):
        def init(self):
            return 0

        def poll(self, state):
            from flowstone_core import SensorBroken

            raise {"fail": OSError("down"), "give_up": SensorBroken("gone")}[poll]

    pipeline = Pipeline("bad")
    pipeline.sensor("bad", Bad, quarantine_after=2)
    pipeline.sensor("off", Bad, enabled=False)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flow.db'}") as flow:
        flow.run(once=True)
        assert flow.sensors.get("bad").health is health
        assert flow.sensors.get("off").health is SensorHealth.DISABLED


def test_invalid_settings_are_reported_together(pipeline):
    with pytest.raises(ValidationError) as wrong:
        Flowstone(pipeline, engin="local", asset_threads=0)
    text = str(wrong.value)
    assert "engin" in text
    assert "did you mean 'engine'" in text
    assert "asset_threads" in text
