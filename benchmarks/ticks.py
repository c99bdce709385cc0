"""Durable ticks: those that write, in batches, beside the same rows written by bare SQL."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Sample, Target
from benchmarks.framework.metrics import CPU, RATE, SERVER_CPU
from benchmarks.framework.scratch import scratch_folder
from benchmarks.framework.span import Span
from benchmarks.framework.store_setup import Desk, bare_connection, open_desk

UPDATE = """UPDATE flowstone_sensors SET version = %s, state = %s, polled = %s, failures = %s,
not_before = %s, broken = %s, last_tick_at = %s, last_outcome = %s, last_good_at = %s,
last_error = %s, stale_since = %s, quiet_reason = %s, quiet_since = %s WHERE name = %s"""
TICK = """INSERT INTO flowstone_ticks (id, source, outcome, started_at, finished_at, events,
duplicates, error, skipped) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
MATERIALIZATION = """INSERT INTO flowstone_materializations (id, run_id, asset, partition, state,
attempt, max_attempts, requested_at, available_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
EVENT = """INSERT INTO flowstone_events (id, source, key, asset, partition, created_at,
materialization_id, tick_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""


def flowstone(case: Case) -> Sample:
    """Commit ticks as a runner's committer does."""
    with open_desk(case, case["batch"]) as desk:
        for _ in range(3):
            desk.commit(desk.ticks(case["batch"], case["each"]))
        with Span() as span:
            for _ in range(case["commits"]):
                desk.commit(desk.ticks(case["batch"], case["each"]))
    return span.sample(case["commits"] * case["batch"])


def bare(case: Case) -> Sample:
    """Write the same rows to the same tables, with ids that it counts itself, and read nothing."""
    with open_desk(case, case["batch"]) as desk, bare_connection(desk.url) as connection:
        rows = _Rows(desk, case)
        for _ in range(3):
            rows.write(connection)
        with Span() as span:
            for _ in range(case["commits"]):
                rows.write(connection)
    return span.sample(case["commits"] * case["batch"])


class _Rows:
    """The rows of one batch after the other."""

    def __init__(self, desk: Desk, case: Case) -> None:
        self._names = desk.names
        self._each = case["each"]
        self._is_sqlite = not case.postgresql
        self._now: object = desk.now
        if self._is_sqlite:
            self._now = f"{desk.now.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        mark = "?" if self._is_sqlite else "%s"
        texts = (UPDATE, TICK, MATERIALIZATION, EVENT)
        self._statements = [text.replace("%s", mark) for text in texts]
        self._ticks = self._events = self._version = 0

    def write(self, connection: Any) -> None:
        """Write the next batch in one transaction."""
        now, off = self._now, False
        self._version += 1
        state = f'{{"seen":{self._version}}}'
        updates, ticks, materializations, events = [], [], [], []
        for position, name in enumerate(self._names):
            self._ticks += 1
            found = position % self._each == 0
            outcome = "triggered" if found else "not_triggered"
            source = f"sensor:{name}"
            updates.append(
                (self._version, state, True, 0, None, off, now, outcome, now, *[None] * 4, name)
            )
            ticks.append((self._ticks, source, outcome, now, now, int(found), 0, None, 0))
            if found:
                number = self._events = self._events + 1
                partition = f"part-{number}"
                materializations.append(
                    (number, uuid.uuid4().hex, "orders", partition, "pending", 0, 5, now, now)
                )
                event = (f"key-{number}", "orders", partition, now, number, self._ticks)
                events.append((number, source, *event))
        with _transaction(connection, is_sqlite=self._is_sqlite) as cursor:
            parts = (updates, ticks, materializations, events)
            for statement, part in zip(self._statements, parts, strict=True):
                if part:
                    cursor.executemany(statement, part)


@contextmanager
def _transaction(connection: Any, *, is_sqlite: bool) -> Iterator[Any]:
    if is_sqlite:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    else:
        # One round trip for all of it.
        with connection.pipeline(), connection.transaction(), connection.cursor() as cursor:
            yield cursor


def apscheduler(case: Case) -> Sample:
    """Measure APScheduler 3 with its jobs in SQLite: more of them due than it can run."""
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    with scratch_folder() as folder:
        store = SQLAlchemyJobStore(f"sqlite:///{folder / 'jobs.db'}")
        scheduler = BackgroundScheduler(
            jobstores={"default": store},
            timezone="UTC",
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        scheduler.start(paused=True)
        for _ in range(case["jobs"]):
            scheduler.add_job(count_call, "interval", seconds=1, next_run_time=datetime.now(UTC))
        with Span() as span:
            scheduler.resume()
            time.sleep(case.number("seconds"))
            ticks = len(calls)
        scheduler.shutdown(wait=True)
    return span.sample(ticks)


calls: list[None] = []
_lock = threading.Lock()


def count_call() -> None:
    """Count a call of an APScheduler job, which is named by its module and function."""
    with _lock:
        calls.append(None)


def _cases() -> Iterator[Case]:
    for group in ("SQLite", "PostgreSQL"):
        for batch, commits in ((1, 400), (10, 150), (100, 40)):
            values: dict[str, int | float | str] = {
                "batch": batch, "commits": commits, "each": 1, "jobs": 1_000, "seconds": 3.0
            }  # fmt: skip
            on_server = group == "PostgreSQL"
            yield Case(f"{group}, batches of {batch}", batch, values, group, on_server)
            if batch == 100:
                values = values | {"each": 10}
                name = f"{group}, batches of 100, an event in ten"
                yield Case(name, batch, values, f"{group}, an event in ten", on_server)


CASES = tuple(_cases())


def _target(text: str, name: str, at_least: float) -> Target:
    return Target(text, "rate", (name,), against="bare", at_least=at_least)


BENCHMARK = Benchmark(
    name="ticks",
    title="Durable ticks",
    about="""
Ticks that write: the new state of the sensor, the tick, its event, and a new materialization, all
in one transaction for a batch; a runner batches the ticks that end together. FlowStone first locks
the sensors and compares their versions and owners, looks the keys of the events up, and joins
pending materializations; then it takes ids and writes. The limit writes the same rows to the same
tables and indexes with bare `sqlite3` or `psycopg` (pipelined), with ids that it counts itself: it
reads nothing and checks nothing. APScheduler 3 keeps its jobs in SQLite and commits the next time
of each job that ran, one by one; it stores no state, tick or event, and uses SQLite's default
journal. One case has an event in every tenth tick only; the others have one in each.""",
    metrics=(RATE, CPU, SERVER_CPU),
    cases=CASES,
    arms=(
        Arm("flowstone", "FlowStone", flowstone),
        Arm(
            "apscheduler",
            "APScheduler 3, SQLite",
            apscheduler,
            "peer",
            ("apscheduler",),
            groups=("SQLite",),
            largest=1,
        ),
        Arm("bare", "bare SQL", bare, "limit"),
    ),
    targets=(
        _target("batches of 100 on SQLite at least 0.6 of bare SQL", CASES[2].name, 0.6),
        _target("the same, with an event in ten", CASES[3].name, 0.6),
        _target("batches of 100 on PostgreSQL at least 0.5 of bare SQL", CASES[6].name, 0.5),
        _target("the same, with an event in ten", CASES[7].name, 0.5),
        _target("one alone on SQLite within 2 times the bare commit", CASES[0].name, 0.5),
        _target("one alone on PostgreSQL within 2 times the bare commit", CASES[4].name, 0.5),
    ),
    smoke=(
        Case(
            "SQLite, smoke",
            1,
            {"batch": 2, "commits": 2, "each": 2, "jobs": 10, "seconds": 0.3},
            "SQLite",
        ),
        Case(
            "PostgreSQL, smoke",
            1,
            {"batch": 2, "commits": 2, "each": 1},
            "PostgreSQL",
            postgresql=True,
        ),
    ),
    x_title="ticks in a batch",
)
