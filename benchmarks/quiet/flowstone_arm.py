"""FlowStone arm: a runner whose sensors find nothing."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.scratch import scratch_folder
from benchmarks.quiet.lateness import late, wait
from flowstone_core import NotTriggered, Outcome, Pipeline, Sensor, SensorConfig
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.redaction import Redactor
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import Runner
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.store import Store

following_due: dict[str, tuple[float, float]] = {}
"""By sensor, when the next tick is due, or the one that has just begun; and the interval."""


class Quiet(Sensor[SensorConfig, None]):
    """Sees nothing, ever."""

    def init(self) -> None:
        """Remember nothing."""

    def poll(self, state: None) -> Outcome[None]:
        """Note how late it is, and see nothing."""
        noted = following_due.get(self.context.sensor)
        if noted is not None:
            due, every = noted
            since = time.monotonic() - due
            late.append(since if since >= 0 else since + every)
        return NotTriggered(state)


def note_due_times() -> None:
    """Let each ticker note when it is due next: the scheduler asks it just after it began."""
    original = SensorTicker.following

    def following(self: SensorTicker, due: float, now: float) -> float:
        found = original(self, due, now)
        following_due[self.name] = found, self.every
        return found

    SensorTicker.following = following  # type: ignore[method-assign]  # see above


def pipeline_of(sensors: int, every: float) -> Pipeline:
    """Return a pipeline with this number of quiet sensors."""
    pipeline = Pipeline("benchmark")

    @pipeline.asset
    def nothing(context: object) -> None:
        del context

    for number in range(sensors):
        pipeline.sensor(f"sensor-{number}", Quiet, asset="nothing", every=timedelta(seconds=every))
    return pipeline


def polled_store(path: Path, sensors: int) -> Store:
    """Return a store in which each sensor has been polled: first polls write, later ones do not."""
    store = Store.open(f"sqlite:///{path}")
    now = datetime.now(UTC)
    store.sensors.declare([f"sensor-{number}" for number in range(sensors)], now)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE flowstone_sensors SET polled = 1, state = 'null', version = 1")
    connection.close()
    return store


def runner_of(store: Store, pipeline: Pipeline) -> tuple[Heartbeat, Runner]:
    """Return a runner with its heartbeat, which is started."""
    clock = SystemClock()
    heartbeat = Heartbeat(store, clock, timedelta(seconds=30))
    heartbeat.start()
    runner = Runner(
        heartbeat.session,
        Workload(pipeline.assets, pipeline.sensors),
        publisher=Publisher(HookDispatcher(discover())),
        redact=Redactor(),
        wake_engine=lambda: None,
    )
    return heartbeat, runner


def flowstone(case: Case) -> Sample:
    """Measure a runner with all that it does: leases, deadlines, states."""
    note_due_times()
    pipeline = pipeline_of(case["sensors"], case.number("every"))
    with scratch_folder() as folder:
        store = polled_store(folder / "store.db", case["sensors"])
        heartbeat, runner = runner_of(store, pipeline)
        runner.start()
        time.sleep(case.number("settle"))
        sample = wait(case.number("seconds"))
        runner.stop(timedelta(seconds=5))
        heartbeat.stop()
        store.close()
    return sample
