"""Two processes: one sends events, one after the other, and a consumer begins them."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.span import Span, percentile

PATIENCE = 60.0
"""Longest wait for one event, in seconds."""

FIRST = 10
"""Events that are not counted: connections are opened, statements compiled."""


def measure(case: Case, send: Callable[[int], None], results: Connection) -> Sample:
    """Send events, one after the other, and return how long after each its function began.

    Args:
        send: Makes an event durable that other processes may begin.
        results: Receives the number of each event, and when its function began.
    """
    generator = random.Random(1)  # noqa: S311 - so that no arm keeps step with its polls
    late = []
    with Span() as span:
        for number in range(FIRST + case["events"]):
            time.sleep(generator.uniform(0.1, 0.14))
            begun = time.perf_counter()
            send(number)
            late.append(_receive(results, number) - begun)
    return sample_of(span, late)


def _receive(results: Connection, number: int) -> float:
    while results.poll(PATIENCE):
        found, at = results.recv()
        if found == number:
            return float(at)
    raise RuntimeError(f"event {number} did not begin within {PATIENCE:g} s")


def sample_of(span: Span, late: list[float]) -> Sample:
    """Return the figures of a span, and of the seconds from each event to its function."""
    counted = late[FIRST:]
    return span.sample(len(late)) | {
        "p50": 1e3 * percentile(counted, 50),
        "p99": 1e3 * percentile(counted, 99),
    }


@contextmanager
def consumer(run: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Run a consumer in a separate process; it sends when it is ready, and then its results."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(PATIENCE) or ours.recv() != "ready":
            raise RuntimeError("the consumer did not start")
        yield ours
    finally:
        process.kill()
        process.join()
