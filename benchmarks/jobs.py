"""Jobs: materializations that do nothing, by one process, beside job queues and bare SQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Sample, Target
from benchmarks.framework.metrics import CPU, RATE, SERVER_CPU
from benchmarks.framework.scratch import postgresql_database, scratch_folder, store_url
from benchmarks.framework.span import Span
from benchmarks.framework.store_setup import bare_connection, open_desk
from flowstone_core.model.asset import Asset, AssetGraph, Context
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.engine import EngineSetup
from flowstone_core.runtime.engine.local_engine import LocalEngine

PATIENCE_SECONDS = 600.0
BATCH = 100


class Countdown:
    """Counts calls from any thread, and knows when there were enough."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self._done = threading.Event()

    def call(self, *_: object) -> None:
        """Count one."""
        with self._lock:
            self._left -= 1
            if not self._left:
                self._done.set()

    @property
    def done(self) -> bool:
        """True after the last one."""
        return self._done.is_set()

    def wait(self) -> None:
        """Wait for the last one.

        Raises:
            TimeoutError: If it does not come.
        """
        if not self._done.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"{self._left} jobs were not run")


def flowstone(case: Case) -> Sample:
    """Let the engine run what ticks have requested, until all of it has ended."""
    count = case["jobs"]
    countdown = Countdown(count)

    def nothing(_: Context) -> None:
        countdown.call()

    with open_desk(case, min(BATCH, count)) as desk:
        for _ in range(count // len(desk.names)):
            desk.commit(desk.ticks(len(desk.names), 1))
        assets = AssetGraph([Asset("orders", nothing)])
        engine = LocalEngine(
            EngineSetup(
                desk.store.queue, assets, SystemClock(), desk.owner, threads=case["threads"]
            )
        )
        with Span() as span:
            engine.start()
            countdown.wait()
            engine.drain()
        engine.stop(timedelta(seconds=5))
    return span.sample(count)


def huey_package(case: Case) -> Sample:
    """Measure huey on SQLite with fsync: a job is deleted before it runs."""
    from huey import SqliteHuey

    countdown = Countdown(case["jobs"])
    with scratch_folder() as folder:
        huey = SqliteHuey(filename=str(folder / "huey.db"), fsync=True, results=False)

        def nothing() -> None:
            countdown.call()

        task = huey.task()(nothing)
        for _ in range(case["jobs"]):
            task()
        consumer = huey.create_consumer(workers=case["threads"], periodic=False)
        with Span() as span:
            consumer.start()
            countdown.wait()
        consumer.stop(graceful=True)
    return span.sample(case["jobs"])


def procrastinate_package(case: Case) -> Sample:
    """Measure procrastinate, until it has caught up with its queue."""
    import procrastinate

    countdown = Countdown(case["jobs"])
    with postgresql_database() as url:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

        async def nothing() -> None:
            countdown.call()

        task = app.task(name="nothing")(nothing)

        async def run() -> Span:
            async with app.open_async():
                await app.schema_manager.apply_schema_async()
                await task.batch_defer_async(*({} for _ in range(case["jobs"])))
                with Span() as span:
                    await app.run_worker_async(
                        wait=False,
                        concurrency=case["threads"],
                        install_signal_handlers=False,
                        listen_notify=False,
                    )
            return span

        span = asyncio.run(run())
    if not countdown.done:
        raise RuntimeError("procrastinate left jobs behind")
    return span.sample(case["jobs"])


def oban_package(case: Case) -> Sample:
    """Measure Oban, until it has run all jobs and stopped, which writes the last ends."""
    import oban
    from oban.schema import install_sql
    from psycopg_pool import AsyncConnectionPool

    countdown = Countdown(case["jobs"])

    class Nothing:
        async def process(self, _: object) -> None:
            countdown.call()

    worker: Any = oban.worker(queue="default")(Nothing)

    async def run(url: str) -> Span:
        async with AsyncConnectionPool(url, min_size=2, max_size=10, open=False) as pool:
            await pool.wait()
            client = oban.Oban(pool=pool, name="client")
            for _ in range(case["jobs"] // min(BATCH, case["jobs"])):
                jobs = [worker.new({}) for _ in range(min(BATCH, case["jobs"]))]
                await client.enqueue_many(*jobs)
            server = oban.Oban(pool=pool, queues={"default": case["threads"]})
            with Span() as span:
                await server.start()
                while not countdown.done:
                    await asyncio.sleep(0.005)
                await server.stop()
        return span

    with postgresql_database() as url:
        with bare_connection(url) as connection:
            connection.execute(install_sql())
        span = asyncio.run(run(url))
    return span.sample(case["jobs"])


TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, payload TEXT NOT NULL)"
INDEX = "CREATE INDEX jobs_pending ON jobs (id) WHERE state = 'pending'"
ADD = "INSERT INTO jobs (id, state, payload) VALUES ({mark}, 'pending', '{{}}')"
CLAIM = """UPDATE jobs SET state = 'running' WHERE id IN (SELECT id FROM jobs
WHERE state = 'pending' ORDER BY id LIMIT {limit} {lock}) RETURNING id, payload"""
END = "UPDATE jobs SET state = 'completed' WHERE id IN ({ids})"


def bare(case: Case) -> Sample:
    """Claim with one statement as many jobs as there are threads, and end them with another."""
    limit, lock = case["threads"], "FOR UPDATE SKIP LOCKED" if case.postgresql else ""
    claim = CLAIM.format(limit=limit, lock=lock)
    with store_url(case.postgresql) as url, bare_connection(url) as connection:
        connection.execute(TABLE)
        connection.execute(INDEX)
        add = ADD.format(mark="%s" if case.postgresql else "?")
        connection.execute("BEGIN")
        cursor = connection.cursor()
        cursor.executemany(add, [(number,) for number in range(case["jobs"])])
        connection.execute("COMMIT")
        done = 0
        with Span() as span:
            while claimed := connection.execute(claim).fetchall():
                done += len(claimed)
                connection.execute(END.format(ids=", ".join(str(row[0]) for row in claimed)))
    if done != case["jobs"]:
        raise RuntimeError(f"{done} jobs were claimed")
    return span.sample(done)


def _cases() -> Iterator[Case]:
    for group in ("SQLite", "PostgreSQL"):
        for threads in (1, 8):
            yield Case(
                f"{group}, {threads} thread{'s' if threads > 1 else ''}",
                threads,
                {"jobs": 1_000, "threads": threads},
                group,
                postgresql=group == "PostgreSQL",
            )


CASES = tuple(_cases())


def _targets() -> Iterator[Target]:
    for case in (CASES[1], CASES[3]):
        text = f"CPU of a materialization at most 0.4 ms ({case.name})"
        yield Target(text, "cpu", (case.name,), at_most=400.0)
    yield Target(
        "as many a second as huey with fsync (SQLite, 8 threads)",
        "rate",
        (CASES[1].name,),
        against="huey",
        at_least=1.0,
    )
    yield Target(
        "3 times procrastinate's a second (PostgreSQL, 8 threads)",
        "rate",
        (CASES[3].name,),
        against="procrastinate",
        at_least=3.0,
    )


BENCHMARK = Benchmark(
    name="jobs",
    title="Jobs",
    about="""
A filled queue of jobs that do nothing, run by one process. FlowStone claims materializations, with
their events and dependencies checked, runs each in a thread, and commits its end: attempt,
metadata, followers; a crash at any moment loses none, and only the attempt that holds the current
token can end it. huey deletes a job before it runs: a crash loses it. procrastinate and Oban keep
the state of each job, as FlowStone does, and run coroutines in one thread; their concurrency is the
number of threads of the case. The limit claims as many jobs as there are threads with one
statement, and ends them with another, in a table with one index; FlowStone claims ahead and
writes the ends of several attempts together, so that it passes the limit of one thread.""",
    metrics=(RATE, CPU, SERVER_CPU),
    cases=CASES,
    arms=(
        Arm("flowstone", "FlowStone", flowstone),
        Arm("huey", "huey, fsync", huey_package, "peer", ("huey",), groups=("SQLite",)),
        Arm(
            "procrastinate",
            "procrastinate",
            procrastinate_package,
            "peer",
            ("procrastinate",),
            groups=("PostgreSQL",),
        ),
        Arm("oban", "Oban", oban_package, "peer", ("oban",), groups=("PostgreSQL",)),
        Arm("bare", "bare SQL", bare, "limit"),
    ),
    targets=tuple(_targets()),
    smoke=(
        Case("SQLite, smoke", 2, {"jobs": 6, "threads": 2}, "SQLite"),
        Case("PostgreSQL, smoke", 2, {"jobs": 6, "threads": 2}, "PostgreSQL", postgresql=True),
    ),
    x_title="threads",
)
