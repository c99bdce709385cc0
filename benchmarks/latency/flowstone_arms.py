"""FlowStone arms: a runner, alone or beside the process that requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.scratch import store_url
from benchmarks.framework.span import Span
from benchmarks.latency.two_processes import FIRST, PATIENCE, consumer, measure, sample_of
from flowstone_core import (
    Context,
    Event,
    Flowstone,
    Outcome,
    Pipeline,
    Sensor,
    SensorConfig,
    Triggered,
)
from flowstone_core.model.json_document import Json
from flowstone_core.store import Store


class Ticking(Sensor[SensorConfig, int]):
    """Finds one event in each poll."""

    def init(self) -> int:
        """Begin to count."""
        return 0

    def poll(self, state: int) -> Outcome[int]:
        """Find an event, now."""
        now = time.perf_counter()
        event = Event(f"part-{state}", payload={"number": state, "at": now})
        return Triggered([event], state + 1)


def pipeline_of(begun: Callable[[int, float], None]) -> Pipeline:
    """Return a pipeline whose asset tells when it begins.

    Args:
        begun: Called with the number of the event, and when its poll returned it.
    """
    pipeline = Pipeline("latency")

    @pipeline.asset
    def made(context: Context) -> None:
        payload = context.events[0].payload
        assert payload is not None  # noqa: S101 - every event here has one
        begun(int(str(payload["number"])), float(str(payload["at"])))

    return pipeline


def one_process(case: Case) -> Sample:
    """Measure a runner: from the line of the poll to the first line of the asset function."""
    late: list[float] = []
    enough = threading.Event()

    def begun(_: int, at: float) -> None:
        late.append(time.perf_counter() - at)
        if len(late) >= FIRST + case["events"]:
            enough.set()

    pipeline = pipeline_of(begun)
    pipeline.sensor("ticking", Ticking, asset="made", every=timedelta(milliseconds=30))
    with store_url(case.postgresql) as url:
        Store.upgrade(url)
        with Flowstone(pipeline, store=url) as flow, Span() as span:
            thread = threading.Thread(target=flow.run)
            thread.start()
            enough.wait(PATIENCE)
            flow.stop()
            thread.join()
    return sample_of(span, late)


def two_processes(case: Case) -> Sample:
    """Measure a request in this process, which the runner of another process begins."""
    with store_url(case.postgresql) as url:
        Store.upgrade(url)
        with (
            consumer(run_flowstone, url) as results,
            Flowstone(pipeline_of(lambda *_: None), store=url) as flow,
        ):

            def send(number: int) -> None:
                payload: dict[str, Json] = {"number": number, "at": 0}
                flow.materialize("made", partition=f"part-{number}", payload=payload)

            return measure(case, send, results)


def run_flowstone(url: str, results: Connection) -> None:
    """Run a runner that begins what another process requests."""

    def begun(number: int, _: float) -> None:
        results.send((number, time.perf_counter()))

    with Flowstone(pipeline_of(begun), store=url) as flow:
        threading.Timer(1.0, results.send, ("ready",)).start()
        flow.run()
