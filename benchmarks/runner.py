"""How many quiet ticks a second the runner makes, beside a bare heap loop in the same process.

    python benchmarks/runner.py [--sensors 10000] [--every 1.0] [--seconds 10]

First the offered load (each sensor every second): does it keep up, and at what price in CPU?
Then saturation: the same sensors due at all times. The bare loop does nothing but
`heapq.heapreplace` and call a function; it is the limit of any design in one Python thread.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from flowstone_core import NotTriggered, Outcome, Pipeline, Sensor, SensorConfig
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.redaction import Redactor
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import Runner
from flowstone_core.store import Store

polls = 0


class Quiet(Sensor[SensorConfig, None]):
    """Sees nothing, ever."""

    def init(self) -> None:
        """Remember nothing."""

    def poll(self, state: None) -> Outcome[None]:
        """Count, and see nothing."""
        global polls  # noqa: PLW0603 - the cheapest counter there is
        polls += 1
        return NotTriggered(state)


def bare_loop(sensors: int, seconds: float) -> float:
    """Return the calls a second of a loop that does nothing else."""
    heap = [(index / sensors, index) for index in range(sensors)]
    heapq.heapify(heap)
    calls = 0
    begin = time.perf_counter()
    end = begin + seconds
    while (now := time.perf_counter()) < end:
        due, index = heap[0]
        heapq.heapreplace(heap, (due + 1.0, index))
        calls += 1
    return calls / (now - begin)


def runner_load(sensors: int, every: float, seconds: float) -> tuple[float, float]:
    """Return the runner's ticks a second, and the CPU seconds it took for each second."""
    pipeline = Pipeline("benchmark")

    @pipeline.asset
    def nothing(context: object) -> None:
        del context

    for number in range(sensors):
        pipeline.sensor(f"sensor-{number}", Quiet, asset="nothing", every=timedelta(seconds=every))
    clock, redact = SystemClock(), Redactor()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{Path(folder, 'bench.db')}")
        heartbeat = Heartbeat(store, clock, timedelta(seconds=30))
        heartbeat.start()
        runner = Runner(
            heartbeat.session,
            Workload(pipeline.assets, pipeline.sensors),
            publisher=Publisher(HookDispatcher(discover())),
            redact=redact,
            wake_engine=lambda: None,
            poll_threads=4,
        )
        runner.start()
        settled = clock.waker()
        settled.wait(8.0)  # the first polls, which each write their state, are not quiet
        begin, cpu, before = time.perf_counter(), time.process_time(), polls
        settled.wait(seconds)
        elapsed, used = time.perf_counter() - begin, time.process_time() - cpu
        rate = (polls - before) / elapsed
        runner.stop(timedelta(seconds=5))
        heartbeat.stop()
        store.close()
    return rate, used / elapsed


def main() -> None:
    """Measure, and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sensors", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    limit = bare_loop(given.sensors, 2.0)
    print(f"bare heap loop          {limit:>12,.0f} calls/s")
    rate, cpu = runner_load(given.sensors, given.every, given.seconds)
    offered = given.sensors / given.every
    print(f"runner, {offered:,.0f}/s offered {rate:>12,.0f} ticks/s   {cpu:.0%} of a core")
    rate, cpu = runner_load(given.sensors, given.every / 100, given.seconds)
    print(f"runner, saturated       {rate:>12,.0f} ticks/s   {cpu:.0%} of a core")
    print(f"ratio to the bare loop  {rate / limit:>12.3f}")


if __name__ == "__main__":
    main()
