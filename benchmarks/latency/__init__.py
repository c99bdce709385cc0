"""Latency: from an event to the first line of its function, in one process and between two."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Target
from benchmarks.latency.bare_arm import bare
from benchmarks.latency.flowstone_arms import one_process, two_processes
from benchmarks.latency.peer_arms import huey, procrastinate


def _case(name: str, events: int, *, postgresql: bool) -> Case:
    return Case(name, 1, {"events": events}, group=name, postgresql=postgresql)


SQLITE = _case("SQLite", 80, postgresql=False)
POSTGRESQL = _case("PostgreSQL", 80, postgresql=True)
NAMES = (SQLITE.name, POSTGRESQL.name)


def _targets() -> Iterator[Target]:
    for case in NAMES:
        for arm, text, limits in (
            ("one", "one process", (("p50", 2.0), ("p99", 3.0))),
            ("two", "two processes", (("p50", 3.0),)),
        ):
            for metric, most in limits:
                said = f"{text} on {case}: {metric} within {most:g} times the bare one"
                yield Target(said, metric, (case,), arm, against="bare", at_most=most)


BENCHMARK = Benchmark(
    name="latency",
    title="Event to first line",
    about="""
The time from an event to the first line of the function that it leads to, one event after the
other, 100 to 140 ms apart (by one process 30 ms): on PostgreSQL a process of FlowStone notifies
others ten times a second, so that events which come faster wait for each other. *One process*:
from the line of a sensor's poll that returns the event to the first line of the asset function,
by a runner with all of its parts; one commit of the tick, one wake-up, one commit of the claim.
*Two processes*: from the call of `materialize` in this process to the first line in the runner
of another process. The limit is a row that one process inserts and commits, and another claims
and commits, in a table with one index; on SQLite the other process compares `PRAGMA
data_version` each millisecond, for which it burns 4 % of a core, on PostgreSQL it listens.
FlowStone compares after a write to the log of SQLite. huey (SQLite, with `fsync`) polls with its
default back-off from 0.1 s and forgets a task when it begins it; procrastinate listens.""",
    metrics=(
        Metric("p50", "p50", "ms"),
        Metric("p99", "p99", "ms"),
        Metric("cpu", "CPU each, sender", "µs", ratio=False),
    ),
    cases=(SQLITE, POSTGRESQL),
    arms=(
        Arm("one", "FlowStone, one process", one_process),
        Arm("two", "FlowStone, two processes", two_processes),
        Arm("huey", "huey", huey, "peer", ("huey",), groups=("SQLite",)),
        Arm(
            "procrastinate",
            "procrastinate",
            procrastinate,
            "peer",
            ("procrastinate",),
            groups=("PostgreSQL",),
        ),
        Arm("bare", "bare rows, two processes", bare, "limit"),
    ),
    targets=tuple(_targets()),
    smoke=(_case("SQLite, 5 events", 5, postgresql=False),),
)
