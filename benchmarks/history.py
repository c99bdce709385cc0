"""History: ticks and claims with millions of rows behind them, beside an empty store."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample, Target
from benchmarks.framework.scratch import CACHE, SERVER_URL
from benchmarks.framework.store_setup import Desk, bare_connection, desk_on, open_desk
from flowstone_core.store import Store

BATCH = 10
WARM_UP = 3

# A source in a hundred; each number is a tick, its event, its materialization and its attempt.
NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    "SELECT i, printf('%032x', i) AS run FROM n) AS n",
    "postgresql": "(SELECT i, lpad(to_hex(i), 32, '0') AS run "
    "FROM generate_series(1, {count}) AS i) AS n",
}
FILL = (
    """INSERT INTO flowstone_ticks (id, source, outcome, started_at, finished_at, events,
    duplicates, skipped)
    SELECT i, 'sensor:old-' || (i % 100), 'triggered', {at}, {at}, 1, 0, 0 FROM {numbers}""",
    """INSERT INTO flowstone_materializations (id, run_id, asset, partition, state, attempt,
    max_attempts, requested_at, started_at, finished_at, runner_id, lost_attempts)
    SELECT i, run, 'orders', 'old-' || i, 'completed', 1, 3, {at}, {at}, {at}, 'gone', 0
    FROM {numbers}""",
    """INSERT INTO flowstone_events (id, source, key, asset, partition, created_at,
    materialization_id, tick_id, forgotten) SELECT i, 'sensor:old-' || (i % 100), 'old-' || i,
    'orders', 'old-' || i, {at}, i, i, {no} FROM {numbers}""",
    """INSERT INTO flowstone_attempts (materialization_id, number, started_at, finished_at, outcome,
    runner_id) SELECT i, 1, {at}, {at}, 'completed', 'gone' FROM {numbers}""",
)
TABLES = ("ticks", "materializations", "events")


def fill(url: str, rows: int) -> None:
    """Make a store with a number of rows of history, four for each materialization."""
    Store.open(url, migrate=True).close()
    is_sqlite = url.startswith("sqlite")
    numbers = NUMBERS["sqlite" if is_sqlite else "postgresql"].format(count=rows // 4)
    at = "'2025-01-15T12:00:00.000000Z'" if is_sqlite else "timestamptz '2025-01-15 12:00:00Z'"
    with bare_connection(url) as connection:
        if is_sqlite:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
        for statement in FILL:
            connection.execute(
                statement.format(numbers=numbers, at=at, no=0 if is_sqlite else "false")
            )
        if is_sqlite:
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        else:
            for table in TABLES:
                sequence = f"pg_get_serial_sequence('flowstone_{table}', 'id')"
                connection.execute(f"SELECT setval({sequence}, {rows // 4})")
            connection.execute("VACUUM ANALYZE")


@contextmanager
def filled(case: Case) -> Iterator[Desk]:
    """Open a store with history, which the first round makes and the later ones use again."""
    rows = case["rows"]
    if case.postgresql:
        import psycopg

        server, name = os.environ[SERVER_URL], f"bench_history_{rows}"
        url = server.replace("/postgres?", f"/{name}?")
        with psycopg.connect(server, autocommit=True) as connection:
            known = "SELECT 1 FROM pg_database WHERE datname = %s"
            is_new = connection.execute(known, [name]).fetchone() is None
            if is_new:
                connection.execute(f"CREATE DATABASE {name}")
    else:
        path = Path(os.environ[CACHE], f"history-{rows}.db")
        url, is_new = f"sqlite:///{path}", not path.exists()
    if is_new:
        fill(url, rows)
    with desk_on(url, BATCH) as desk:
        yield desk


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds of a call."""
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)


def tick_and_claim(desk: Desk) -> tuple[float, float]:
    """Commit ten ticks with an event each, and claim the ten materializations."""
    commits = desk.ticks(BATCH, 1)
    tick = timed(lambda: desk.commit(commits))
    claims: list[Any] = []

    def claim() -> None:
        claims.extend(desk.store.queue.claim(desk.owner, BATCH, desk.assets, desk.now).claims)

    taken = timed(claim)
    if len(claims) != BATCH:
        raise RuntimeError(f"claimed {len(claims)} of {BATCH}")
    return tick, taken


def flowstone(case: Case) -> Sample:
    """Tick and claim on a store with history and on an empty one, in turns."""
    with filled(case) as old, open_desk(case, BATCH) as new:
        taken: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
        for number in range(WARM_UP + case["turns"]):
            for name, desk in (("old", old), ("new", new)):
                found = tick_and_claim(desk)
                if number >= WARM_UP:
                    taken[name].append(found)
    tick, claim = (statistics.median(column) for column in zip(*taken["old"], strict=True))
    new_tick, new_claim = (statistics.median(column) for column in zip(*taken["new"], strict=True))
    return {
        "tick": tick,
        "claim": claim,
        "tick_ratio": tick / new_tick,
        "claim_ratio": claim / new_claim,
    }


def _cases() -> Iterator[Case]:
    for group in ("SQLite", "PostgreSQL"):
        for rows in (10_000, 100_000, 1_000_000, 10_000_000):
            yield Case(
                f"{group}, {rows:,} rows",
                rows,
                {"rows": rows, "turns": 25},
                group,
                postgresql=group == "PostgreSQL",
                full=rows > 1_000_000,
            )


CASES = tuple(_cases())


def _targets() -> Iterator[Target]:
    for group in ("SQLite", "PostgreSQL"):
        for rows in ("1,000,000", "10,000,000"):
            for metric in ("tick", "claim"):
                text = f"{metric} on {group} with {rows} rows within 1.2 times of an empty store"
                yield Target(text, f"{metric}_ratio", (f"{group}, {rows} rows",), at_most=1.2)


BENCHMARK = Benchmark(
    name="history",
    title="History",
    about="""
Ten ticks with an event each in one transaction, and then one claim of the ten materializations, on
a store with history and on an empty one, in turns within one process. A quarter of the rows are
ticks, a quarter events, a quarter materializations, and a quarter attempts, each with all of its
indexes; bare SQL made them. The *÷ empty* columns compare the medians of the same run. Ten million
rows take minutes to make and several gigabytes: they are measured with `BENCH_ARGS=--full`.""",
    metrics=(
        Metric("tick", "10 ticks", "ms", ratio=False),
        Metric("tick_ratio", "÷ empty", ratio=False),
        Metric("claim", "claim of 10", "ms", ratio=False),
        Metric("claim_ratio", "÷ empty", ratio=False),
    ),
    cases=CASES,
    arms=(Arm("flowstone", "FlowStone", flowstone),),
    targets=tuple(_targets()),
    smoke=(Case("SQLite, 40 rows", 40, {"rows": 40, "turns": 2}, "SQLite"),),
    x_title="rows of history",
)
