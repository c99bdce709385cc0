"""The settings of the sensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, ImportString, SecretStr, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_db.address import Address, read_address

_COMMENTS = re.compile(r"--[^\n]*|/\*(?!!).*?\*/", re.DOTALL)
_READS = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)


def _check_query(query: str) -> str:
    if not _READS.match(_COMMENTS.sub(" ", query)):
        raise ValueError("a query begins with SELECT, or WITH: only reading is allowed")
    return query.strip().rstrip("; \t\r\n")


Query: TypeAlias = Annotated[str, AfterValidator(_check_query)]
"""One statement that reads. That it does nothing else is the connection's business."""

RowFunction: TypeAlias = Callable[[Mapping[str, Any]], object]


class DatabaseConfig(SensorConfig):
    """Which database is asked, and for how long; what all sensors of this plugin have."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="the database's URL as SQLAlchemy writes it, such as "
        "postgresql://user@host/database or sqlite:///path/to/file.db"
    )
    password: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        None, description="as it is, with no %40 for @; excludes one in url"
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(hours=1))] = Field(
        timedelta(seconds=30), description="how long the database may work on one statement"
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

    query: Query = Field(description="one SELECT that returns one row, of one or more columns")
    partition: str | None = Field(
        None, min_length=1, description="the column of the query that is the partition"
    )
    partition_fn: ImportString[RowFunction] | None = Field(
        None,
        description="module:name of a function that takes the row, a mapping of its columns, and "
        "returns the partition, or None to fire nothing",
    )

    @model_validator(mode="after")
    def _check_partition(self) -> DatabaseChangeConfig:
        if self.partition is not None and self.partition_fn is not None:
            raise ValueError("partition and partition_fn exclude each other")
        return self
