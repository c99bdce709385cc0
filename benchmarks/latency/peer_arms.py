"""Peer arms: huey on SQLite, and procrastinate on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.scratch import postgresql_database, scratch_folder
from benchmarks.latency.two_processes import consumer, measure


def huey(case: Case) -> Sample:
    """Measure huey on SQLite with ``fsync``, and the consumer that it comes with."""
    with scratch_folder() as folder:
        path = str(folder / "huey.db")
        _, task = _huey_task(path, lambda _: None)
        with consumer(run_huey, path) as results:
            return measure(case, task, results)


def run_huey(path: str, results: Connection) -> None:
    """Consume with one thread and the defaults of huey."""
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
    """Measure procrastinate: a deferred job, and a process that listens."""
    with postgresql_database() as url:
        app, task = _procrastinate_task(url, lambda _: None, synchronous=True)
        with app.open():
            app.schema_manager.apply_schema()
            with consumer(run_procrastinate, url) as results:
                return measure(case, lambda number: task.defer(number=number), results)


def run_procrastinate(url: str, results: Connection) -> None:
    """Run jobs as they are deferred."""
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
