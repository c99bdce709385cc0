"""Settings of the database sensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, ConfigDict, Field, ImportString, SecretStr, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_core.plugin_api import fit_function
from flowstone_db.url import DatabaseUrl, parse_database_url

_COMMENTS = re.compile(r"--[^\n]*|/\*(?!!).*?\*/", re.DOTALL)
_READS = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)


def _check_query(query: str) -> str:
    if not _READS.match(_COMMENTS.sub(" ", query)):
        raise ValueError("a query must begin with SELECT or WITH: only reading is allowed")
    return query.strip().rstrip("; \t\r\n")


Query: TypeAlias = Annotated[str, AfterValidator(_check_query)]
"""One statement that reads; the connection enforces that it does nothing else."""

RowFunction: TypeAlias = Callable[[Mapping[str, Any]], object]


def _check_row_function(function: RowFunction) -> RowFunction:
    fit_function(function, "the row")
    return function


_RowFunction: TypeAlias = Annotated[ImportString[RowFunction], AfterValidator(_check_row_function)]


Url: TypeAlias = Annotated[SecretStr, Field(min_length=1)]


class DatabaseConfig(SensorConfig):
    """Settings of the database connection, common to all sensors of this plugin."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Url = Field(
        description="the database: postgresql://user@host:5432/database, mysql:// or mariadb:// "
        "likewise, sqlite:///relative/path.db or sqlite:////absolute/path.db"
    )
    password: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        None,
        description="the password, if not in url; written as it is, without %40 for @",
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(hours=1))] = Field(
        timedelta(seconds=30),
        description="time limit of one statement (SQLite: of one poll); the sensor's deadline "
        "must exceed it",
    )

    @model_validator(mode="after")
    def _check_address(self) -> DatabaseConfig:
        self.database_url()
        return self

    def database_url(self) -> DatabaseUrl:
        """Return the parsed URL of the database."""
        password = None if self.password is None else self.password.get_secret_value()
        return parse_database_url(self.url.get_secret_value(), password)


class DatabaseChangeConfig(DatabaseConfig):
    """Settings of `database_change`: the watched value, and the partition of its changes."""

    query: Query = Field(
        description="one SELECT that returns one row at most, of one or more columns"
    )
    partition: str | None = Field(
        None,
        min_length=1,
        description="the column of the query that is the partition: a date, timestamp, text, "
        "integer or UUID; the date of the poll, in UTC, if unset",
    )
    partition_fn: _RowFunction | None = Field(
        None,
        description="instead of partition: module:name of a function that takes the row, a mapping "
        "of its columns, and returns the partition, or None to fire nothing",
    )

    @model_validator(mode="after")
    def _check_partition(self) -> DatabaseChangeConfig:
        if self.partition is not None and self.partition_fn is not None:
            raise ValueError("partition and partition_fn exclude each other")
        return self


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r:.80}: use an IANA name such as Europe/Warsaw"
        ) from None
    return name


Name: TypeAlias = Annotated[str, Field(min_length=1)]


class DatabaseRowsConfig(DatabaseConfig):
    """Settings of `database_rows`: the watched rows, their key and their partitions."""

    table: Name | None = Field(
        None,
        description="a table or view, such as orders or shop.orders; this or query is required",
    )
    query: Query | None = Field(
        None, description="one SELECT instead of a table; it needs no ORDER BY"
    )
    mode: Literal["incrementing", "timestamp", "timestamp_incrementing"] = Field(
        description="how new rows are recognized: by a growing id_column, by a timestamp_column "
        "that is set when the row changes, or by both"
    )
    id_column: Name | None = Field(
        None,
        description="a column whose values only grow: integer, decimal, text or UUID; required in "
        "the modes with incrementing",
    )
    timestamp_column: Name | None = Field(
        None,
        description="a column with the time when the row was inserted or changed; required in the "
        "modes with timestamp",
    )
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        "UTC",
        description="the IANA time zone of timestamps without a zone, and of the partitions",
    )
    lag: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=7))] = Field(
        timedelta(seconds=5),
        description="rows younger than this are left for a later poll, because rows with earlier "
        "timestamps may still be committed; must exceed the longest transaction; unused in mode "
        "incrementing",
    )
    horizon: Literal["clock", "snapshot"] | None = Field(
        None,
        description="snapshot: wait for open transactions of PostgreSQL, so that no row they "
        "commit is missed (the default there in mode incrementing); clock: lag alone (otherwise)",
    )
    row_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        10_000,
        description="most rows of one poll; the next poll reads the rest. Rows with the same key "
        "are never split, so there may be more",
    )
    start: Literal["all", "new"] = Field(
        "all", description="fire for existing rows too (all), or only for later ones (new)"
    )
    if_max_falls: Literal["fail", "go_on"] = Field(
        "fail", description="if the last row read, and all after it, are gone: fail, or go on"
    )
    unreadable_rows: Literal["fail", "skip"] = Field(
        "fail",
        description="a row without a partition fails the poll, and nothing fires (fail), or is "
        "left out for good, and reported (skip)",
    )
    partition_column: Name | None = Field(
        None,
        description="the column that is the partition: a date, timestamp, text, integer or UUID; "
        "the date of timestamp_column if unset; this or partition_fn is required in mode "
        "incrementing",
    )
    partition_fn: _RowFunction | None = Field(
        None,
        description="instead of partition_column: module:name of a function that takes the row, a "
        "mapping of its columns, and returns the partition, or None to leave the row out",
    )

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the key, which orders the rows."""
        return tuple(name for name in (self.timestamp_column, self.id_column) if name is not None)

    @property
    def by_snapshot(self) -> bool:
        """Whether the sensor waits for open transactions."""
        if self.horizon is None:
            return self.database_url().backend == "postgresql" and self.mode == "incrementing"
        return self.horizon == "snapshot"

    @model_validator(mode="after")
    def _check_together(self) -> DatabaseRowsConfig:
        wrong = [
            f"{name} {'is required' if needed else 'is not allowed'} in mode {self.mode}"
            for name, needed, given in (
                ("id_column", self.mode != "timestamp", self.id_column),
                ("timestamp_column", self.mode != "incrementing", self.timestamp_column),
            )
            if needed != (given is not None)
        ]
        if (self.table is None) == (self.query is None):
            wrong.append("set either table or query")
        if self.partition_column is not None and self.partition_fn is not None:
            wrong.append("partition_column and partition_fn exclude each other")
        elif self.mode == "incrementing" and not (self.partition_column or self.partition_fn):
            wrong.append("partition_column or partition_fn is required in mode incrementing")
        if self.horizon == "snapshot" and self.database_url().backend != "postgresql":
            wrong.append("horizon = snapshot requires PostgreSQL")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
