"""Lateness: how late each call of a span was, and the due times that it is measured from."""

from __future__ import annotations

import gc
import random
import time

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.span import Span, percentile

late: list[float] = []
"""How late each call was, in seconds."""


def summarize(span: Span) -> Sample:
    """Return the figures of the calls of a span."""
    found = late.copy()
    return span.sample(len(found)) | {
        "p50": 1e3 * percentile(found, 50),
        "p99": 1e3 * percentile(found, 99),
    }


def wait(seconds: float) -> Sample:
    """Measure other threads for some seconds, after they have caught up with a collection."""
    gc.collect()
    time.sleep(min(seconds, 1.0))
    late.clear()
    with Span(collect=False) as span:
        time.sleep(seconds)
    return summarize(span)


def phases(case: Case) -> list[float]:
    """Return for each sensor the first time that it is due: spread, and the same each time."""
    generator = random.Random(1)  # noqa: S311 - any spread will do
    every, begin = case.number("every"), time.monotonic() + 0.2
    return sorted(begin + generator.random() * every for _ in range(case["sensors"]))
