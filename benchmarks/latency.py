"""Latency: from an event to the first line of its function, in one process and between two."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample, Target
from benchmarks.framework.scratch import postgresql_database, scratch_folder, store_url
from benchmarks.framework.span import Span, percentile
from benchmarks.framework.store_setup import bare_connection
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

PATIENCE = 60.0
"""Longest wait for one event, in seconds."""

FIRST = 10
"""Events that are not counted: connections are opened, statements compiled."""

SQLITE_PERIOD = 0.001
"""Seconds between two polls of the bare SQLite consumer."""

TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, payload TEXT NOT NULL)"
INDEX = "CREATE INDEX jobs_state ON jobs (state, id)"
CLAIM = """UPDATE jobs SET state = 'running' WHERE id =
(SELECT id FROM jobs WHERE state = 'pending' ORDER BY id LIMIT 1{lock}) RETURNING id, payload"""


# -- the two sides ---------------------------------------------------------------------------------


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
    return _sample(span, late)


def _receive(results: Connection, number: int) -> float:
    while results.poll(PATIENCE):
        found, at = results.recv()
        if found == number:
            return float(at)
    raise RuntimeError(f"event {number} did not begin within {PATIENCE:g} s")


def _sample(span: Span, late: list[float]) -> Sample:
    counted = late[FIRST:]
    return span.sample(len(late)) | {
        "p50": 1e3 * percentile(counted, 50),
        "p99": 1e3 * percentile(counted, 99),
    }


@contextmanager
def consumer(run: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Run a consumer in a process of its own; it sends when it is ready, and then its results."""
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


# -- FlowStone -------------------------------------------------------------------------------------


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
        _upgrade(url)
        with Flowstone(pipeline, store=url) as flow, Span() as span:
            thread = threading.Thread(target=flow.run)
            thread.start()
            enough.wait(PATIENCE)
            flow.stop()
            thread.join()
    return _sample(span, late)


def two_processes(case: Case) -> Sample:
    """Measure a request in this process, which the runner of another process begins."""
    with store_url(case.postgresql) as url:
        _upgrade(url)
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


def _upgrade(url: str) -> None:
    from flowstone_core.store import Store

    Store.upgrade(url)


# -- the limit -------------------------------------------------------------------------------------


def bare(case: Case) -> Sample:
    """Measure a row that is inserted and committed here, and claimed and committed elsewhere."""
    with store_url(case.postgresql) as url:
        if not case.postgresql:
            sqlite3.connect(url.removeprefix("sqlite:///")).close()
        with bare_connection(url) as connection:
            serial = "GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            table = TABLE.replace("PRIMARY KEY", serial) if case.postgresql else TABLE
            connection.execute(table)
            connection.execute(INDEX)
            mark = "%s" if case.postgresql else "?"
            insert = f"INSERT INTO jobs (state, payload) VALUES ('pending', {mark})"  # noqa: S608

            def send(number: int) -> None:
                connection.execute(insert, (str(number),))
                if case.postgresql:
                    connection.execute("NOTIFY jobs")

            run = run_bare_postgresql if case.postgresql else run_bare_sqlite
            with consumer(run, url) as results:
                return measure(case, send, results)


def run_bare_sqlite(url: str, results: Connection) -> None:
    """Poll ``PRAGMA data_version``, and claim what was committed."""
    with bare_connection(url) as connection, bare_connection(url) as watch:
        results.send("ready")
        version = None
        while True:
            found = watch.execute("PRAGMA data_version").fetchall()
            if found != version:
                version = found
                _claim_all(connection, CLAIM.format(lock=""), results)
            time.sleep(SQLITE_PERIOD)


def run_bare_postgresql(url: str, results: Connection) -> None:
    """Listen, and claim what was committed."""
    with bare_connection(url) as connection, bare_connection(url) as listener:
        listener.execute("LISTEN jobs")
        results.send("ready")
        for _ in listener.notifies():
            _claim_all(connection, CLAIM.format(lock=" FOR UPDATE SKIP LOCKED"), results)


def _claim_all(connection: Any, claim: str, results: Connection) -> None:
    while rows := connection.execute(claim).fetchall():
        for _, payload in rows:
            results.send((int(payload), time.perf_counter()))


# -- peers -----------------------------------------------------------------------------------------


def huey(case: Case) -> Sample:
    """Measure huey on SQLite with ``fsync``, and the consumer that it comes with."""
    with scratch_folder() as folder:
        path = str(folder / "huey.db")
        _, task = _huey_task(path, lambda _: None)
        with consumer(run_huey, path) as results:
            return measure(case, task, results)


def run_huey(path: str, results: Connection) -> None:
    """Consume with one worker, as it is configured by itself."""
    from huey.consumer import Consumer

    queue, _ = _huey_task(path, lambda number: results.send((number, time.perf_counter())))
    consumer_of_huey = Consumer(queue, workers=1)
    consumer_of_huey.start()
    results.send("ready")
    threading.Event().wait()


def _huey_task(path: str, begun: Callable[[int], None]) -> tuple[Any, Callable[[int], None]]:
    from huey import SqliteHuey

    queue = SqliteHuey("latency", filename=path, fsync=True, results=False)

    @queue.task(name="made")  # type: ignore[untyped-decorator]  # huey has no types
    def made(number: int) -> None:
        begun(number)

    return queue, made


def procrastinate(case: Case) -> Sample:
    """Measure procrastinate: a deferred job, and a worker that listens."""
    with postgresql_database() as url:
        app, task = _procrastinate_task(url, lambda _: None, synchronous=True)
        with app.open():
            app.schema_manager.apply_schema()
            with consumer(run_procrastinate, url) as results:
                return measure(case, lambda number: task.defer(number=number), results)


def run_procrastinate(url: str, results: Connection) -> None:
    """Work with one worker."""
    import asyncio

    app, _ = _procrastinate_task(
        url, lambda number: results.send((number, time.perf_counter())), synchronous=False
    )

    async def work() -> None:
        async with app.open_async():
            asyncio.get_running_loop().call_later(1.0, results.send, "ready")
            await app.run_worker_async(install_signal_handlers=False)

    asyncio.run(work())


def _procrastinate_task(
    url: str, begun: Callable[[int], None], *, synchronous: bool
) -> tuple[Any, Any]:
    from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

    connector = SyncPsycopgConnector if synchronous else PsycopgConnector
    app = App(connector=connector(conninfo=url))

    @app.task(name="made")  # type: ignore[untyped-decorator]  # as above
    def made(number: int) -> None:
        begun(number)

    return app, made


# -- the benchmark ---------------------------------------------------------------------------------


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
