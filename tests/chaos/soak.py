"""Soak a runner in load and in virtual days, and fail if what it holds goes on growing.

``make soak`` runs it: ten real minutes with all kinds of work at once, then an hour of virtual days
with schedules in many zones, and pruning. Each part prints its samples, and the growth of each
figure over its second half beside the noise that is allowed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import math
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from soak_pipeline import CLOCK, loaded_pipeline, quiet_pipeline

from flowstone_core import ConflictError, Flowstone
from flowstone_core.app.wiring import Wiring
from flowstone_core.testing import FakeClock
from flowstone_core.testing.leaks import Holdings

SAMPLES = 24
"""Samples of each part."""

FLOORS = {"rss": 8.0, "blocks": 5_000.0, "files": 4.0, "threads": 4.0, "children": 1.0}
"""Growth that is never counted: MiB, and numbers; a sample may catch what runs just then.

SQLite's caches fill for days: each connection keeps 2 MiB of pages and 128 statements.
"""

STEP = timedelta(minutes=5)
"""Virtual time between two looks of the runner."""

PERIOD = timedelta(hours=6)
"""Virtual time between two prunings, after which a sample may be due."""

FEWEST = 8
"""Samples of virtual days on a machine that is too slow for all of them."""


@dataclass(frozen=True)
class Sample:
    """What the process holds at a moment.

    Attributes:
        at: How far the part is: a text.
        done: Materializations that were requested so far.
        rss: Memory in MiB, after a garbage collection.
        blocks: Blocks of memory that Python's objects use.
    """

    at: str
    done: int
    rss: float
    blocks: int
    files: int
    threads: int
    children: int

    @classmethod
    def now(cls, at: str, done: int) -> Sample:
        gc.collect()
        _give_back_memory()
        held = Holdings.now()
        files, threads, children = held.files.total(), len(held.threads), len(held.children)
        return cls(at, done, _rss(), sys.getallocatedblocks(), files, threads, children)

    def __str__(self) -> str:
        return (
            f"{self.at:>12} {self.done:>9} {self.rss:>9.1f} {self.blocks:>9} {self.files:>6} "
            f"{self.threads:>8} {self.children:>9}"
        )


HEADING = (
    f"{'at':>12} {'done':>9} {'RSS MiB':>9} {'blocks':>9} {'files':>6} "
    f"{'threads':>8} {'children':>9}"
)


def growths(samples: Sequence[Sample]) -> Iterator[tuple[str, float, float]]:
    """Yield the name, the growth over the second half, and the noise of each figure.

    The growth is that of a straight line through the samples of the second half; its noise is
    three standard errors, or the floor.
    """
    half = samples[len(samples) // 2 :]
    for name, floor in FLOORS.items():
        growth, error = _line([getattr(sample, name) for sample in half])
        yield name, growth, max(floor, 3 * error)


def _line(values: Sequence[float]) -> tuple[float, float]:
    """Return the rise of the line through some values, and the standard error of the rise."""
    span = len(values) - 1
    middle, mean = span / 2, sum(values) / len(values)
    spread = sum((x - middle) ** 2 for x in range(len(values)))
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(values)) / spread
    rest = sum((y - mean - slope * (x - middle)) ** 2 for x, y in enumerate(values))
    return slope * span, span * math.sqrt(rest / max(1, len(values) - 2) / spread)


def report(title: str, samples: Sequence[Sample]) -> bool:
    """Print the growths of a part; return True if none is above its noise."""
    flat = True
    for name, growth, noise in growths(samples):
        grows = growth > noise
        flat = flat and not grows
        verdict = "GROWS" if grows else "flat"
        print(f"{title}: {name:<9} {growth:+8.2f} in the second half, noise {noise:.2f}: {verdict}")
    return flat


# -- real minutes ----------------------------------------------------------------------------------


def soak_load(url: str, minutes: float, tell: Callable[[Sample], object]) -> list[Sample]:
    """Run everything at once for some minutes, and an operator beside it; return the samples."""
    samples = []
    with Flowstone(loaded_pipeline(), store=url, retention="1d") as flow:
        thread = threading.Thread(target=flow.run, daemon=True)
        thread.start()
        try:
            began = CLOCK.monotonic()
            operator = _operate(flow)
            for number in range(1, SAMPLES + 1):
                until = began + 60 * minutes * number / SAMPLES
                while (left := until - CLOCK.monotonic()) > 0:
                    next(operator)
                    CLOCK.waker().wait(min(left, 0.2))
                passed = f"{(CLOCK.monotonic() - began) / 60:.1f} min"
                samples.append(Sample.now(passed, _requested(flow)))
                tell(samples[-1])
        finally:
            flow.stop()
            thread.join()
    return samples


def _operate(flow: Flowstone) -> Iterator[None]:
    """Do what operators do, one thing at each step."""
    number = 0
    while True:
        number += 1
        asked = flow.materialize("made", f"by-hand-{number}")
        yield
        with suppress(ConflictError):
            flow.materializations.cancel(asked.id)
        yield
        with suppress(ConflictError):
            flow.materializations.retry(asked.id)
        yield
        flow.sensors.pause("quiet-1")
        yield
        flow.sensors.resume("quiet-1")
        flow.schedules.add("made", name="added", every="1 hour", partition="${instant}")
        yield
        flow.schedules.remove("added")
        yield


def _requested(flow: Flowstone) -> int:
    latest = flow.materializations.latest(limit=1)
    return latest[0].id if latest else 0


# -- virtual days ----------------------------------------------------------------------------------


def soak_days(
    url: str,
    is_due: Callable[[int], bool | None],
    tell: Callable[[Sample], object],
    step: timedelta = STEP,
) -> list[Sample]:
    """Let virtual days pass, a few minutes at a time; return the samples.

    Args:
        is_due: Called with the number of samples so far after each period; returns True if another
            one is due, None at the end.
        step: Virtual time between two looks of the runner.
    """
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    samples: list[Sample] = []
    with Flowstone(
        quiet_pipeline(), store=url, clock=clock, retention="2d", lease="1h", poll_threads=4
    ) as flow:
        store = flow._open_store()
        wiring = Wiring(store, flow.project, clock)
        supervisor = wiring.supervisor(flow.schedules.factory, lambda _: None)
        runner, engine = supervisor._runner, supervisor._engine
        store.runners.register(supervisor._heartbeat.runner)
        runner.open()
        began = clock.now()
        while (due := is_due(len(samples))) is not None:
            if due:
                days = (clock.now() - began) / timedelta(days=1)
                samples.append(Sample.now(f"{days:g} d", _requested(flow)))
                tell(samples[-1])
            for _ in range(PERIOD // step):
                clock.advance(step)
                supervisor._heartbeat.beat()
                runner.reconcile()
                while runner.step() == 0.0:
                    runner.settle()
                runner.settle()
                engine.run_once()
            supervisor._pruner.prune_periodically()
        runner.stop(timedelta(seconds=5))
        engine.stop(timedelta(seconds=5))
        supervisor._dispatcher.close(timeout=5)
    return samples


# -- this process ----------------------------------------------------------------------------------


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 2**20


def _give_back_memory() -> None:
    """Let the C library return free memory, so that only what is in use is counted."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def new_store() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="flowstone-soak-") as folder:
        yield f"sqlite:///{Path(folder) / 'flowstone.db'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (default: 10)")
    parser.add_argument(
        "--virtual-minutes", type=float, default=60.0, help="of virtual days (default: 60)"
    )
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    flat = True
    if given.minutes:
        print(f"load, {given.minutes:g} min\n{HEADING}")
        with new_store() as url:
            flat &= report("load", soak_load(url, given.minutes, print))
    if given.virtual_minutes:
        began, seconds = CLOCK.monotonic(), 60 * given.virtual_minutes

        def is_due(taken: int) -> bool | None:
            passed = CLOCK.monotonic() - began
            if passed >= seconds and taken >= FEWEST:
                return None
            return passed >= seconds * taken / SAMPLES

        print(f"virtual days, {given.virtual_minutes:g} min\n{HEADING}")
        with new_store() as url:
            flat &= report("days", soak_days(url, is_due, print))
    print("nothing grows" if flat else "something grows")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
