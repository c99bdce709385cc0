"""Bare arm: rows without FlowStone, which one process inserts and another claims."""

from __future__ import annotations

import sqlite3
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.framework.benchmark import Case, Sample
from benchmarks.framework.scratch import store_url
from benchmarks.framework.store_setup import bare_connection
from benchmarks.latency.two_processes import consumer, measure

SQLITE_PERIOD = 0.001
"""Seconds between two polls of the bare SQLite consumer."""

TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, payload TEXT NOT NULL)"
INDEX = "CREATE INDEX jobs_state ON jobs (state, id)"
CLAIM = """UPDATE jobs SET state = 'running' WHERE id =
(SELECT id FROM jobs WHERE state = 'pending' ORDER BY id LIMIT 1{lock}) RETURNING id, payload"""


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
