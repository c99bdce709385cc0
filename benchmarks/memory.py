"""Memory: the bytes that a runner holds for each sensor, by what holds them."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import timedelta

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample, Target
from benchmarks.framework.scratch import scratch_folder
from benchmarks.quiet.flowstone_arm import pipeline_of, polled_store, runner_of
from benchmarks.quiet.timer_arms import scheduler_peers


def held() -> int:
    """Return the bytes that Python holds."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def flowstone(case: Case) -> Sample:
    """Measure the declarations of sensors, and then a runner that has polled each of them."""
    count = case["sensors"]
    with scratch_folder() as folder:
        # All that exists once, however many sensors there are, is there before.
        store = polled_store(folder / "store.db", count)
        heartbeat, runner = runner_of(store, pipeline_of(1, 3600.0))
        runner.run_once()
        runner.stop(timedelta(seconds=5))
        heartbeat.stop()
        del runner, heartbeat
        tracemalloc.start()
        before = held()
        pipeline = pipeline_of(count, 3600.0)
        declared = held()
        heartbeat, runner = runner_of(store, pipeline)
        runner.run_once()
        polled = held()
        tracemalloc.stop()
        runner.stop(timedelta(seconds=5))
        heartbeat.stop()
        store.close()
    return {
        "declared": (declared - before) / count,
        "runner": (polled - declared) / count,
        "all": (polled - before) / count,
    }


def apscheduler(case: Case) -> Sample:
    """Measure APScheduler 3 with its jobs in memory."""
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start(paused=True)
    tracemalloc.start()
    before = held()
    for _ in range(case["sensors"]):
        scheduler.add_job(gc.collect, "interval", seconds=3600)
    after = held()
    scheduler.shutdown()
    return {"all": (after - before) / case["sensors"]}


def schedule_package(case: Case) -> Sample:
    """Measure the schedule package."""
    import schedule

    tracemalloc.start()
    scheduler = schedule.Scheduler()
    before = held()
    for _ in range(case["sensors"]):
        scheduler.every(3600).seconds.do(gc.collect)
    after = held()
    del scheduler
    return {"all": (after - before) / case["sensors"]}


def heap(case: Case) -> Sample:
    """Measure a heap of due times with a function each."""
    tracemalloc.start()
    before = held()
    entries = [(float(number), number, gc.collect) for number in range(case["sensors"])]
    after = held()
    del entries
    return {"all": (after - before) / case["sensors"]}


TEN = Case("10,000 sensors", 10_000, {"sensors": 10_000}, rounds=3)

BENCHMARK = Benchmark(
    name="memory",
    title="Memory",
    about="""
The bytes that Python holds for each sensor, by `tracemalloc`. *Declared* is the declaration of a
sensor in a pipeline: its settings, its config, the place of its declaration. *Runner* is what a
runner adds, once it has polled each sensor: the sensor's instance, its state and context, the
ticker, the heap. The sensor has a config without fields and remembers nothing, so that all of it is
FlowStone's. Peers hold a function and its interval.""",
    metrics=(
        Metric("all", "all", "B"),
        Metric("declared", "declared", "B", ratio=False),
        Metric("runner", "runner", "B", ratio=False),
    ),
    cases=(Case("1,000 sensors", 1_000, {"sensors": 1_000}, rounds=3), TEN),
    arms=(
        Arm("flowstone", "FlowStone", flowstone),
        *scheduler_peers(apscheduler, schedule_package),
        Arm("heap", "heap", heap, "limit"),
    ),
    targets=(
        Target(
            "at most 2 KB for each sensor beyond its declaration",
            "runner",
            (TEN.name,),
            at_most=2_048.0,
        ),
    ),
    smoke=(Case("10 sensors", 10, {"sensors": 10}),),
    x_title="sensors",
)
