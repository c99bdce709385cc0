"""Real databases: a file of SQLite, a database on a PostgreSQL server, and sensors on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowstone_core import PollContext, Sensor
from flowstone_core.clock import SystemClock

START = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)


class SetClock(SystemClock):
    """A clock that stands where it is set; its seconds pass by being asked for."""

    def __init__(self) -> None:
        self.time = START
        self.seconds = 0.0
        self.step = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def make_sensor(clock: SetClock) -> Iterator[Callable[..., Any]]:
    """Make sensors; what they hold is closed after the test."""
    made: list[Any] = []

    def make(kind: type[Sensor[Any, Any]], **options: Any) -> Any:
        config = kind.Config.model_validate(options)
        made.append(kind(config, PollContext(clock=clock)))
        return made[-1]

    yield make
    for sensor in made:
        sensor.cleanup()


class SqliteFile:
    """A file, and somebody else's connection to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.connection = sqlite3.connect(path, isolation_level=None)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(tmp_path / "a shop.db")
    yield file
    file.connection.close()


class PostgresqlDatabase:
    """A database of one test, and somebody else's connections to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = self.connect(autocommit=True)

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=autocommit)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def postgresql_database(postgresql: Any) -> Iterator[PostgresqlDatabase]:
    with postgresql.database() as url:
        database = PostgresqlDatabase(url)
        yield database
        database.connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Any:
    """An empty database; whoever uses it runs on both kinds."""
    kinds = {"sqlite": "sqlite_file", "postgresql": "postgresql_database"}
    return request.getfixturevalue(kinds[request.param])
