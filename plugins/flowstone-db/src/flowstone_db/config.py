"""The settings of the sensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, ConfigDict, Field, ImportString, SecretStr, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_db.url import Address, read_address

_COMMENTS = re.compile(r"--[^\n]*|/\*(?!!).*?\*/", re.DOTALL)
_READS = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)


def _check_query(query: str) -> str:
    if not _READS.match(_COMMENTS.sub(" ", query)):
        raise ValueError("a query begins with SELECT, or WITH: only reading is allowed")
    return query.strip().rstrip("; \t\r\n")


_CHANNEL_LIMIT = 63
"""Bytes of a name in PostgreSQL; of a longer one it would take the beginning."""

Query: TypeAlias = Annotated[str, AfterValidator(_check_query)]
"""One statement that reads. That it does nothing else is the connection's business."""

RowFunction: TypeAlias = Callable[[Mapping[str, Any]], object]


Url: TypeAlias = Annotated[SecretStr, Field(min_length=1)]


class DatabaseConfig(SensorConfig):
    """Which database is asked, and for how long; what all sensors of this plugin have."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Url = Field(
        description="the database: postgresql://user@host:5432/database, mysql:// or mariadb:// "
        "likewise, sqlite:///relative/path.db or sqlite:////absolute/path.db"
    )
    password: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        None,
        description="the password as it is, if it does not stand in url, where @ is written %40",
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(hours=1))] = Field(
        timedelta(seconds=30),
        description="how long the database may work on one statement (SQLite: on one poll); "
        "keep the sensor's deadline above it",
    )

    @model_validator(mode="after")
    def _check_address(self) -> DatabaseConfig:
        self.address()
        return self

    def address(self) -> Address:
        """Return where the database is."""
        password = None if self.password is None else self.password.get_secret_value()
        return read_address(self.url.get_secret_value(), password)


class DatabaseChangeConfig(DatabaseConfig):
    """Which value is watched, and which partition its changes are for."""

    query: Query = Field(
        description="one SELECT that returns one row at most, of one or more columns"
    )
    partition: str | None = Field(
        None,
        min_length=1,
        description="the column of the query that is the partition: a date, timestamp, text, "
        "integer or UUID; the date of the poll, in UTC, if unset",
    )
    partition_fn: ImportString[RowFunction] | None = Field(
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
            f"there is no time zone {name!r:.80}: use an IANA name such as Europe/Warsaw"
        ) from None
    return name


Name: TypeAlias = Annotated[str, Field(min_length=1)]


class DatabaseRowsConfig(DatabaseConfig):
    """Which rows are watched, what tells that one is new, and which partition it belongs to."""

    table: Name | None = Field(
        None,
        description="a table or view, such as orders or shop.orders; this or query is required",
    )
    query: Query | None = Field(
        None, description="one SELECT instead of a table; it needs no ORDER BY"
    )
    mode: Literal["incrementing", "timestamp", "timestamp_incrementing"] = Field(
        description="what tells that a row is new: a growing id_column, a timestamp_column that is "
        "set when the row is changed, or both"
    )
    id_column: Name | None = Field(
        None,
        description="a column whose values only grow: integer, decimal, text or UUID; required in "
        "the modes with incrementing",
    )
    timestamp_column: Name | None = Field(
        None,
        description="a column with the time when the row was made or changed; required in the "
        "modes with timestamp",
    )
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        "UTC",
        description="the IANA name of the zone of timestamps that have none, and of the partitions",
    )
    lag: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=7))] = Field(
        timedelta(seconds=5),
        description="rows younger than this are left for later, as others may yet be committed "
        "before them; longer than any transaction takes; has no meaning in mode "
        "incrementing",
    )
    horizon: Literal["clock", "snapshot"] | None = Field(
        None,
        description="snapshot: no row is passed over that an open transaction of PostgreSQL may "
        "yet commit (the default there in mode incrementing); clock: lag alone (otherwise)",
    )
    row_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        10_000,
        description="rows in one poll; more are found by the next. Rows with one key are never "
        "parted, so there may be more",
    )
    start: Literal["all", "new"] = Field(
        "all", description="fire for the rows there are, or only for those that come after"
    )
    if_max_falls: Literal["fail", "go_on"] = Field(
        "fail", description="when the last row read, and all after it, are gone: fail, or go on"
    )
    partition_column: Name | None = Field(
        None,
        description="the column that is the partition: a date, timestamp, text, integer or UUID; "
        "the date of timestamp_column if unset; this or partition_fn is required in mode "
        "incrementing",
    )
    partition_fn: ImportString[RowFunction] | None = Field(
        None,
        description="instead of partition_column: module:name of a function that takes the row, a "
        "mapping of its columns, and returns the partition, or None to leave the row out",
    )

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that rows are ordered by."""
        return tuple(name for name in (self.timestamp_column, self.id_column) if name is not None)

    @property
    def by_snapshot(self) -> bool:
        """Whether open transactions are waited for."""
        if self.horizon is None:
            return self.address().backend == "postgresql" and self.mode == "incrementing"
        return self.horizon == "snapshot"

    @model_validator(mode="after")
    def _check_together(self) -> DatabaseRowsConfig:
        wrong = [
            f"{name} {'is needed' if needed else 'has no place'} in mode {self.mode}"
            for name, needed, given in (
                ("id_column", self.mode != "timestamp", self.id_column),
                ("timestamp_column", self.mode != "incrementing", self.timestamp_column),
            )
            if needed != (given is not None)
        ]
        if (self.table is None) == (self.query is None):
            wrong.append("set table or query, one of the two")
        if self.partition_column is not None and self.partition_fn is not None:
            wrong.append("partition_column and partition_fn exclude each other")
        elif self.mode == "incrementing" and not (self.partition_column or self.partition_fn):
            wrong.append("partition_column or partition_fn is needed in mode incrementing")
        if self.horizon == "snapshot" and self.address().backend != "postgresql":
            wrong.append("horizon = snapshot is for PostgreSQL only")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _check_channels(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("name a channel")
    for name in names:
        if not 0 < len(name.encode()) <= _CHANNEL_LIMIT or "\0" in name:
            raise ValueError(
                f"the name of a channel has 1 to {_CHANNEL_LIMIT} bytes, and no NUL: {name!r:.80}"
            )
    if len(set(names)) < len(names):
        raise ValueError("a channel is named twice")
    return names


PayloadFunction: TypeAlias = Callable[[str], object]


class PostgresNotifyConfig(DatabaseConfig):
    """Which channels are listened to, which partition a notification is for, and the safety net."""

    url: Url = Field(description="the database: postgresql://user@host:5432/database")
    channel: Annotated[tuple[str, ...], AfterValidator(_check_channels)] = Field(
        description="the channels to listen to, with small and capital letters as in "
        "pg_notify('...'): NOTIFY without quotes sends to a name in small letters",
    )
    partition: Literal["date", "payload"] | None = Field(
        None,
        description="date (as if unset): that of the poll, in UTC; payload: the payload itself, as "
        "a date if it is written like one (2025-01-15), otherwise as text",
    )
    partition_field: Name | None = Field(
        None,
        description="where payloads are JSON objects: the field that is the partition, a text (a "
        "date if it is written like one) or an integer",
    )
    partition_fn: ImportString[PayloadFunction] | None = Field(
        None,
        description="module:name of a function that takes the payload, a text, and returns the "
        "partition, or None to fire nothing",
    )
    query: Query | None = Field(
        None,
        description="the safety net: one SELECT that returns one row, which is another one after "
        "anything that notifications are sent for",
    )
    query_partition: Name | None = Field(
        None,
        description="the column of query that is the partition of a change that no notification "
        "told of; the date of the poll, in UTC, if unset; required if notifications have other "
        "partitions than dates of polls",
    )
    recheck: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=7))] = Field(
        timedelta(minutes=5),
        description="how long after the last time query is run again; it is also "
        "run after every connect, and with notifications",
    )
    wait: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(hours=1))] = Field(
        timedelta(0),
        description="how long a poll may wait for a notification; it holds a thread "
        "of the runner so long, and must be shorter than the sensor's deadline",
    )

    @model_validator(mode="after")
    def _check_together(self) -> PostgresNotifyConfig:
        wrong = []
        if self.address().backend != "postgresql":
            wrong.append("url must be of PostgreSQL: others cannot notify")
        ways = (self.partition, self.partition_field, self.partition_fn)
        if sum(way is not None for way in ways) > 1:
            wrong.append("partition, partition_field and partition_fn exclude each other")
        by_date = self.partition_field is None and self.partition_fn is None
        by_date = by_date and self.partition != "payload"
        if self.query_partition is not None and self.query is None:
            wrong.append("query_partition is a column of query, which is not set")
        elif self.query is not None and self.query_partition is None and not by_date:
            wrong.append("query_partition is needed: partitions are no dates of polls")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
