"""Quiet ticks: sensors that find nothing, beside schedulers in memory and a bare heap loop."""

from __future__ import annotations

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Target
from benchmarks.framework.metrics import CPU, RATE
from benchmarks.quiet.flowstone_arm import flowstone
from benchmarks.quiet.timer_arms import apscheduler, heap_loop, schedule_package, scheduler_peers


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
        *scheduler_peers(apscheduler, schedule_package),
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
