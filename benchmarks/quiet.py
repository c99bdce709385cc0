"""Quiet ticks: sensors that find nothing, beside schedulers in memory and a bare heap loop."""

from __future__ import annotations

import gc
import heapq
import random
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.framework.benchmark import (
    CPU,
    RATE,
    Arm,
    Benchmark,
    Case,
    Metric,
    Sample,
    Target,
)
from benchmarks.framework.scratch import scratch_folder
from benchmarks.framework.span import Span, percentile
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

SETTLE_SECONDS = 6.0
"""FlowStone spreads the first polls over five seconds."""

late: list[float] = []
"""How late each call was, in seconds."""

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


def summarize(span: Span) -> Sample:
    """Return the figures of the calls of a span."""
    found = late.copy()
    return span.sample(len(found)) | {
        "p50": 1e3 * percentile(found, 50),
        "p99": 1e3 * percentile(found, 99),
    }


def wait(seconds: float) -> Sample:
    """Measure other threads for so long, after they have caught up with a collection."""
    gc.collect()
    time.sleep(min(seconds, 1.0))
    late.clear()
    with Span(collect=False) as span:
        time.sleep(seconds)
    return summarize(span)


def pipeline_of(sensors: int, every: float) -> Pipeline:
    """Return a pipeline with so many quiet sensors."""
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


def phases(case: Case) -> list[float]:
    """Return for each sensor the first time that it is due: spread, and the same each time."""
    generator = random.Random(1)  # noqa: S311 - any spread will do
    every, begin = case.number("every"), time.monotonic() + 0.2
    return sorted(begin + generator.random() * every for _ in range(case["sensors"]))


def heap_loop(case: Case) -> Sample:
    """Measure one thread that waits for the next due time and calls a function."""
    heap, every, alarm = phases(case), case.number("every"), threading.Event()
    heapq.heapify(heap)

    def run() -> None:
        while not alarm.is_set():
            now = time.monotonic()
            while heap[0] <= now:
                due = heap[0]
                heapq.heapreplace(heap, due + every)
                late.append(time.monotonic() - due)
            alarm.wait(max(0.0, heap[0] - time.monotonic()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.5)
    sample = wait(case.number("seconds"))
    alarm.set()
    thread.join()
    return sample


def apscheduler(case: Case) -> Sample:
    """Measure APScheduler 3 with its store in memory and its pool of ten threads."""
    from apscheduler.schedulers.background import BackgroundScheduler

    every = case.number("every")
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    begin = time.monotonic() + case.number("add")
    start = datetime.now(UTC) + timedelta(seconds=begin - time.monotonic())

    def call(first: float) -> None:
        late.append((time.monotonic() - first) % every)

    for due in phases(case):
        offset = due % every
        scheduler.add_job(
            call,
            "interval",
            seconds=every,
            next_run_time=start + timedelta(seconds=offset),
            args=(begin + offset,),
        )
    scheduler.start()
    time.sleep(max(0.0, begin + every + 0.5 - time.monotonic()))
    sample = wait(case.number("seconds"))
    scheduler.shutdown(wait=False)
    return sample


def schedule_package(case: Case) -> Sample:
    """Measure the schedule package, asked once a millisecond; it runs jobs in its own thread."""
    import schedule

    scheduler, stop, start = schedule.Scheduler(), threading.Event(), datetime.now()  # noqa: DTZ005 - its times are naive
    every = max(1, int(case.number("every")))  # it counts in whole seconds

    def call(job: list[schedule.Job]) -> None:
        due = job[0].next_run
        late.append((datetime.now() - due).total_seconds() if due else 0.0)  # noqa: DTZ005

    for number in range(case["sensors"]):
        itself: list[schedule.Job] = []
        job = scheduler.every(every).seconds.do(call, itself)
        itself.append(job)
        job.next_run = start + timedelta(
            seconds=case.number("add") + every * number / case["sensors"]
        )

    def run() -> None:
        while not stop.is_set():
            scheduler.run_pending()
            time.sleep(0.001)

    thread = threading.Thread(target=run, daemon=True)
    time.sleep(max(0.0, (start - datetime.now()).total_seconds() + case.number("add")))  # noqa: DTZ005
    thread.start()
    time.sleep(every + 0.5)
    sample = wait(case.number("seconds"))
    stop.set()
    thread.join()
    return sample


def _case(
    sensors: int, every: float, seconds: float, add: float, rounds: int | None = None
) -> Case:
    """Return a case; ``add`` is enough time to add the jobs of a peer."""
    values = {"sensors": sensors, "every": every, "seconds": seconds, "add": add}
    values["settle"] = min(every, 5.0) + 1.0 + add
    return Case(f"{sensors:,} sensors, each {every:g} s", sensors, values, rounds=rounds)


THOUSAND, TEN, HUNDRED = (
    _case(1_000, 1.0, 5.0, 1.0),
    _case(10_000, 1.0, 5.0, 4.0),
    _case(100_000, 10.0, 10.0, 25.0, rounds=1),
)

BENCHMARK = Benchmark(
    name="quiet",
    title="Quiet ticks",
    about="""
Sensors that find nothing, which is what sensors do most of the time. FlowStone reads the state,
calls the sensor under its deadline in a thread of a pool, compares the state and decides; a quiet
tick writes nothing. Lease, heartbeat and reconciliation run beside it. APScheduler 3 (jobs in
memory) and the schedule package call a function and keep no state, no deadline and no lease. The
limit is a heap and one thread that waits for the next due time. The due times are spread evenly
over the interval, and the start is not measured. *Late* is the time from the due time to the call;
the schedule package counts its interval from the end of each call, so its drift does not show.""",
    metrics=(
        CPU,
        RATE,
        Metric("p50", "late, p50", "ms", ratio=False),
        Metric("p99", "late, p99", "ms"),
    ),
    cases=(THOUSAND, TEN, HUNDRED),
    arms=(
        Arm("flowstone", "FlowStone", flowstone),
        Arm("apscheduler", "APScheduler 3, in memory", apscheduler, "peer", ("apscheduler",)),
        Arm("schedule", "schedule", schedule_package, "peer", ("schedule",)),
        Arm("heap", "heap loop", heap_loop, "limit"),
    ),
    targets=(
        Target(
            "CPU at 10,000 sensors at most 0.6 of APScheduler's",
            "cpu",
            (TEN.name,),
            against="apscheduler",
            at_most=0.6,
        ),
        Target(
            "p99 lateness at 10,000 sensors within 5 times the heap loop's",
            "p99",
            (TEN.name,),
            against="heap",
            at_most=5.0,
        ),
    ),
    smoke=(
        Case(
            "20 sensors",
            20,
            {"sensors": 20, "every": 0.2, "seconds": 0.2, "add": 0.1, "settle": 0.3},
        ),
    ),
    x_title="sensors",
)
