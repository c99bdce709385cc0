"""Settings of `postgres_notify`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, ImportString, model_validator

from flowstone_core import Duration
from flowstone_core.plugin_api import fit_function
from flowstone_db.config import DatabaseConfig, Name, Query, Url

_CHANNEL_LIMIT = 63
"""Most bytes of a name in PostgreSQL, which truncates longer ones."""

PayloadFunction: TypeAlias = Callable[[str], object]


def _check_payload_function(function: PayloadFunction) -> PayloadFunction:
    fit_function(function, "the payload")
    return function


_PayloadFunction: TypeAlias = Annotated[
    ImportString[PayloadFunction], AfterValidator(_check_payload_function)
]


def _check_channels(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("set at least one channel")
    for name in names:
        if not 0 < len(name.encode()) <= _CHANNEL_LIMIT or "\0" in name:
            raise ValueError(
                f"invalid channel name {name!r:.80}: use 1 to {_CHANNEL_LIMIT} bytes without NUL"
            )
    if len(set(names)) < len(names):
        raise ValueError("duplicate channel")
    return names


class PostgresNotifyConfig(DatabaseConfig):
    """Settings of `postgres_notify`: channels, partitions and the query as a safety net."""

    url: Url = Field(description="the database: postgresql://user@host:5432/database")
    channel: Annotated[tuple[str, ...], AfterValidator(_check_channels)] = Field(
        description="the channels to listen to, in the case of pg_notify('...'): NOTIFY without "
        "quotes sends to a lower-case name",
    )
    partition: Literal["date", "payload"] | None = Field(
        None,
        description="date (default): the date of the poll, in UTC; payload: the payload itself, a "
        "date if written like 2025-01-15, otherwise a text",
    )
    partition_field: Name | None = Field(
        None,
        description="for payloads that are JSON objects: the field that is the partition, a text "
        "(a date if written like one) or an integer",
    )
    partition_fn: _PayloadFunction | None = Field(
        None,
        description="module:name of a function that takes the payload, a text, and returns the "
        "partition, or None to fire nothing",
    )
    query: Query | None = Field(
        None,
        description="safety net: one SELECT that returns one row, which must change with "
        "everything that notifications are sent for",
    )
    query_partition: Name | None = Field(
        None,
        description="the column of query that is the partition of a change without notification; "
        "the date of the poll, in UTC, if unset; required if notifications have other partitions "
        "than dates of polls",
    )
    recheck: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=7))] = Field(
        timedelta(minutes=5),
        description="interval at which query is run; query is also run after every connect, and "
        "with notifications",
    )
    wait: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(hours=1))] = Field(
        timedelta(0),
        description="wait of a poll for a notification; the poll occupies a thread of the runner "
        "meanwhile, and wait must be shorter than the sensor's deadline",
    )

    @model_validator(mode="after")
    def _check_together(self) -> PostgresNotifyConfig:
        wrong = []
        if self.database_url().backend != "postgresql":
            wrong.append("url must be a PostgreSQL URL: other databases have no NOTIFY")
        ways = (self.partition, self.partition_field, self.partition_fn)
        if sum(way is not None for way in ways) > 1:
            wrong.append("partition, partition_field and partition_fn exclude each other")
        by_date = self.partition_field is None and self.partition_fn is None
        by_date = by_date and self.partition != "payload"
        if self.query_partition is not None and self.query is None:
            wrong.append("query_partition requires query")
        elif self.query is not None and self.query_partition is None and not by_date:
            wrong.append("query_partition is required: partitions are not dates of polls")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
