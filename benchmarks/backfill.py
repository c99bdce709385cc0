"""Backfill: a range of partitions, materialized by the process that asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample
from benchmarks.framework.metrics import CPU, RATE, SERVER_CPU
from benchmarks.framework.scratch import store_url
from benchmarks.framework.span import Span
from flowstone_core import Context, Flowstone, Pipeline
from flowstone_core.store import Store

FIRST = date(1990, 1, 1)


def flowstone(case: Case) -> Sample:
    """Run a backfill of an asset that does nothing."""
    pipeline, count = Pipeline("benchmark"), case["partitions"]
    done = 0

    @pipeline.asset
    def nothing(_: Context) -> None:
        nonlocal done
        done += 1

    with store_url(case.postgresql) as url:
        Store.upgrade(url)
        with Flowstone(pipeline, store=url, asset_threads=8) as flow:
            last = FIRST + timedelta(days=count - 1)
            with Span() as span:
                progress = flow.backfill("nothing", FIRST, last, limit=case["limit"])
    if done != count or progress.done != count:
        raise RuntimeError(f"materialized {done} of {count}")
    return span.sample(count) | {"seconds": span.seconds, "memory": _peak_megabytes()}


def _peak_megabytes() -> float:
    """Return the most memory that this process has had."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1024 if os.uname().sysname == "Linux" else 1024**2)


def _cases() -> Iterator[Case]:
    for group in ("SQLite", "PostgreSQL"):
        for partitions in (100, 1_000, 10_000):
            yield Case(
                f"{group}, {partitions:,} partitions",
                partitions,
                {"partitions": partitions, "limit": 100},
                group,
                postgresql=group == "PostgreSQL",
                rounds=3 if partitions == 10_000 else None,
            )


BENCHMARK = Benchmark(
    name="backfill",
    title="Backfill",
    about="""
A backfill of an asset that does nothing, by the process that asks for it: 8 threads, and at most
100 unfinished materializations at once. Each partition is requested, claimed, run and ended
durably, as for an event. The CPU for each partition shows whether a long range costs more than a
short one; the start and the end of the engine are within it.""",
    metrics=(
        CPU,
        RATE,
        SERVER_CPU,
        Metric("seconds", "all of it", "s", ratio=False),
        Metric("memory", "most memory", "MB", ratio=False),
    ),
    cases=tuple(_cases()),
    arms=(Arm("flowstone", "FlowStone", flowstone),),
    smoke=(Case("SQLite, 5 partitions", 5, {"partitions": 5, "limit": 5}, "SQLite"),),
    x_title="partitions",
)
