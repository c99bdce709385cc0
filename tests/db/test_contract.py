"""Sensor contract of the database sensors, on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest
from flowstone_db import DatabaseChange, DatabaseRows, PostgresNotify

from flowstone_core import PollContext, Sensor
from flowstone_core.testing import SensorContract

LOCKS = {
    "sqlite": ("BEGIN EXCLUSIVE", "ROLLBACK"),
    "postgresql": ("BEGIN; LOCK TABLE sale", "ROLLBACK"),
    "mariadb": ("LOCK TABLES sale WRITE", "UNLOCK TABLES"),
}
ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS id, '2025-01-15 00:00:00' AS at, 'eu' AS region FROM n",
    "postgresql": "SELECT i AS id, TIMESTAMP '2025-01-15' AS at, 'eu' AS region "
    "FROM generate_series(1, 1000000000000) AS i",
    "mariadb": "SELECT a.seq AS id, TIMESTAMP '2025-01-15 00:00:00' AS at, 'eu' AS region "
    "FROM seq_1_to_1000000000 AS a, seq_1_to_1000000000 AS b",
}
PASSWORD = "pass/word, please"


class DatabaseContract(SensorContract):
    """Common part of the contracts: a table, and a second connection."""

    patience = 60.0

    @pytest.fixture
    def source(self, database: Any) -> None:
        self.database = database
        database.execute("CREATE TABLE sale (id INTEGER, at TIMESTAMP, region VARCHAR(40))")
        if database.kind == "mariadb":
            self.execute(f"CREATE OR REPLACE USER reader@localhost IDENTIFIED BY '{PASSWORD}'")
            self.execute("GRANT SELECT ON shop.* TO reader@localhost")

    @property
    def secrets(self) -> tuple[str, ...]:
        return () if self.database.kind == "sqlite" else (PASSWORD,)

    def config(self, sensor_class: type[Sensor[Any, Any]], **options: object) -> Any:
        # A server that trusts takes any password, in whatever form it is sent.
        url = self.database.url.replace("postgres:@", f"postgres:{quote(PASSWORD, safe='')}@")
        if self.database.kind == "mariadb":
            url = url.replace("root@", "reader@")
            options["password"] = PASSWORD
        options |= {"url": url, "timeout": "200ms"}
        return sensor_class.Config.model_validate(options)

    def execute(self, statement: str, *values: object) -> None:
        self.database.execute(statement.replace("?", self.database.mark), *values)

    @contextmanager
    def break_source(self) -> Iterator[None]:
        self.execute("ALTER TABLE sale RENAME TO elsewhere")
        yield
        self.execute("ALTER TABLE elsewhere RENAME TO sale")

    @contextmanager
    def hang_source(self) -> Iterator[None]:
        lock, unlock = LOCKS[self.database.kind]
        self.execute(lock)
        yield
        self.execute(unlock)

    @contextmanager
    def endless_source(self) -> Iterator[None]:
        """A table whose rows the database never comes to the end of."""
        rows = ENDLESS[self.database.kind]
        self.execute("ALTER TABLE sale RENAME TO elsewhere")
        self.execute(f"CREATE VIEW sale AS {rows}")
        yield
        self.execute("DROP VIEW sale")
        self.execute("ALTER TABLE elsewhere RENAME TO sale")


NOTHING_SKIPPED = MappingProxyType(
    {"change_to_skip": "only the last value is seen, whatever it is"}
)


class TestDatabaseChange(DatabaseContract):
    sees_only_the_last = True
    not_applicable = NOTHING_SKIPPED
    invalid_settings = (
        ({"query": "DELETE FROM sale"}, "query"),
        ({"query": ...}, "query"),
        ({"url": "oracle://any"}, "oracle"),
        ({"timeout": timedelta(0)}, "timeout"),
    )

    def make_sensor(self, context: PollContext) -> DatabaseChange:
        query = "SELECT max(region) AS region, count(*) AS total FROM sale"
        return DatabaseChange(self.config(DatabaseChange, query=query), context)

    def change(self, number: int) -> str:
        region = f"region-{number:03}"
        self.execute("INSERT INTO sale VALUES (?, NULL, ?)", number, region)
        return region


class TestDatabaseRows(DatabaseContract):
    invalid_settings = (
        ({"mode": "newest"}, "mode"),
        ({"id_column": None}, "id_column is required in mode timestamp_incrementing"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
    )

    @pytest.fixture
    def source(self, database: Any) -> None:
        DatabaseContract.source.__wrapped__(self, database)  # type: ignore[attr-defined]
        self.execute("INSERT INTO sale VALUES (0, ?, 'first')", "2000-01-01 00:00:00")

    def change_to_skip(self, number: int) -> str:
        self.execute("INSERT INTO sale VALUES (?, ?, 'late')", number, "1999-12-31 00:00:00")
        return f"id={number}"

    def make_sensor(self, context: PollContext) -> DatabaseRows:
        config = self.config(
            DatabaseRows,
            table="sale",
            mode="timestamp_incrementing",
            id_column="id",
            timestamp_column="at",
            partition_column="region",
            lag="0s",
            row_limit=5,
        )
        return DatabaseRows(config, context)

    def change(self, number: int) -> str:
        region = f"region-{number:03}"
        at = self.clock.now().replace(tzinfo=None).isoformat(" ")
        self.execute("INSERT INTO sale VALUES (?, ?, ?)", number, at, region)
        return region


class TestPostgresNotify(DatabaseContract):
    sees_only_the_last = True  # by the query, after a restart
    not_applicable = MappingProxyType(
        {
            "test_a_replay_gives_the_same_keys": "PostgreSQL keeps no notification: a fresh "
            "instance is told by the query, by an event of its own",
            **NOTHING_SKIPPED,
        }
    )
    invalid_settings = (({"channel": ...}, "channel"), ({"url": "sqlite:///file.db"}, "url"))

    @pytest.fixture
    def database(self, postgresql_database: Any) -> Any:
        return postgresql_database

    def make_sensor(self, context: PollContext) -> PostgresNotify:
        query = "SELECT max(region) AS region, count(*) AS total FROM sale"
        config = self.config(PostgresNotify, channel=["sales"], query=query, wait="100ms")
        return PostgresNotify(config, context)

    def change(self, number: int) -> str:
        region = f"region-{number:03}"
        self.execute("INSERT INTO sale VALUES (?, NULL, ?)", number, region)
        self.execute(f"NOTIFY sales, '{region}'")
        return region
