"""A sound sensor over a table of SQLite, its contract, and how its broken heirs are judged."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest
from pydantic import Field, SecretStr

from flowstone_core import (
    Event,
    NotTriggered,
    Sensor,
    SensorConfig,
    Skipped,
    Triggered,
)
from flowstone_core.testing import SensorContract

TOKEN = "open, s3same!"
CHECKS = [name for name in dir(SensorContract) if name.startswith("test_")]
STAGED = ["test_a_run_ends_in_materializations", "test_events_beyond_the_limit_follow"]
"""The checks that run a Flowstone, and take most of the time."""

IN_FULL = ["ForgetsAfterADay", "KeepsADatetime", "LosesWhatFailed", "TellsInItsState"]
"""The sensors that are judged by those checks too; by ``make chaos``, all are."""

Broken: TypeAlias = dict[str, tuple[type["Rows"], str, dict[str, object]]]


class RowsConfig(SensorConfig):
    path: Path = Field(description="the file of SQLite")
    token: SecretStr = Field(description="what opens it")
    timeout: float = Field(0.01, gt=0, description="seconds to wait for a lock")


class Rows(Sensor[RowsConfig, object]):
    """Fires for each row: sound in every way, so that each heir is broken in one."""

    Config = RowsConfig
    connection = None

    def init(self):
        return {"at": "", "id": 0}

    def poll(self, state):
        rows = self.read(state)
        if not rows:
            return NotTriggered(state)
        return Triggered([self.event(*row) for row in rows], self.after(rows))

    def read(self, state):
        return self.query(
            "SELECT id, at, name FROM row WHERE (at, id) > (?, ?) ORDER BY at, id",
            state["at"],
            state["id"],
        )

    def event(self, number, at, name):
        return Event(name, payload={"id": number, "at": at})

    def after(self, rows):
        number, at, _ = rows[-1]
        return {"at": at, "id": number}

    def query(self, statement, *values):
        if self.connection is None:
            self.connection = self.open()
        return self.connection.execute(statement, values).fetchall()

    def open(self):
        return sqlite3.connect(
            self.config.path, timeout=self.config.timeout, check_same_thread=False
        )

    def cleanup(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


class RowsContract(SensorContract):
    """The terms of all sensors here."""

    sensor_class: ClassVar[type] = Rows
    patience = 20.0
    invalid_settings = (({"timeout": 0}, "timeout"), ({"path": ...}, "path"))
    not_applicable: ClassVar[dict[str, str]] = {
        "change_to_skip": "each row fires",
        "endless_source": "a poll is one query",
    }

    @pytest.fixture
    def source(self, tmp_path):
        with self.opened(tmp_path):
            yield

    @contextmanager
    def opened(self, folder):
        self.path = folder / "rows.db"
        self.outside = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.outside.execute("CREATE TABLE row (id INTEGER PRIMARY KEY AUTOINCREMENT, at, name)")
        self.outside.execute("INSERT INTO row VALUES (1, '2025-01-01', 'there before')")
        yield
        self.outside.close()

    def make_sensor(self, context):
        return self.sensor_class(self.sensor_class.Config(path=self.path, token=TOKEN), context)

    def change(self, number):
        name = f"row {number}"
        values = (self.clock.now().isoformat(), name)
        self.outside.execute("INSERT INTO row (at, name) VALUES (?, ?)", values)
        return name

    @contextmanager
    def break_source(self):
        self.outside.execute("ALTER TABLE row RENAME TO elsewhere")
        yield
        self.outside.execute("ALTER TABLE elsewhere RENAME TO row")

    @contextmanager
    def hang_source(self):
        self.outside.execute("BEGIN EXCLUSIVE")
        yield
        self.outside.execute("ROLLBACK")


class Paged(Rows):
    """Reads in pages, and leaves out what has a temporary name: as sound as its parent."""

    page = 5

    def poll(self, state):
        rows = self.read(state)
        if not rows:
            return NotTriggered(state)
        good = [row for row in rows if not row[2].startswith("tmp")]
        skipped = self.skipped([row for row in rows if row not in good])
        return Triggered([self.event(*row) for row in good], self.after(rows), skipped=skipped)

    def skipped(self, rows):
        return [Skipped("a temporary name", len(rows), rows[0][2])] if rows else []

    def read(self, state):
        rows = []
        while True:
            self.before_page()
            page = self.read_page(self.after(rows) if rows else state)
            rows += page
            if len(page) < self.page:
                return rows

    def before_page(self):
        self.context.check_deadline()

    def read_page(self, state):
        return self.query(
            "SELECT id, at, name FROM row WHERE (at, id) > (?, ?) ORDER BY at, id LIMIT ?",
            state["at"],
            state["id"],
            self.page,
        )


class PagedContract(RowsContract):
    """The terms of those that read in pages and leave something out."""

    sensor_class = Paged
    not_applicable: ClassVar[dict[str, str]] = {}

    def change_to_skip(self, number):
        name = f"tmp {number}"
        values = (self.clock.now().isoformat(), name)
        self.outside.execute("INSERT INTO row (at, name) VALUES (?, ?)", values)
        return name

    @contextmanager
    def endless_source(self):
        """Each page is a full one, whatever has been read."""
        numbers = itertools.count(1_000)
        read_page = Paged.read_page

        def endless(sensor, state):
            return [(next(numbers), "2025-01-01", "again") for _ in range(sensor.page)]

        Paged.read_page = endless
        yield
        Paged.read_page = read_page


def noting(broken, check, said, **terms):
    """Note which check must find a sensor's fault, and what it must say."""

    def note(sensor_class):
        assert check in CHECKS
        broken[sensor_class.__name__] = (sensor_class, check, {"said": said, **terms})
        return sensor_class

    return note


def assert_fault_found(judge, sensor_class, check, terms):
    """Judge a broken sensor: its check alone must fail, and say what is wrong."""
    terms = dict(terms)
    said = terms.pop("said")
    in_full = "FLOWSTONE_CHAOS" in os.environ or sensor_class.__name__ in IN_FULL
    checks = [each for each in CHECKS if in_full or each == check or each not in STAGED]
    failed, skipped = judge(sensor_class, checks, **terms)
    assert list(failed) == [check], failed
    assert said in " ".join(failed[check].split()), failed[check]
    for part in ("seen: ", "\nwhy it matters: ", "\nwhat to do: "):
        assert part in failed[check]
    assert TOKEN not in failed[check]
    reasons = [reason for reason in skipped.values() if not reason.startswith("does not apply")]
    assert all(f"because {check} does" in reason for reason in reasons), skipped
