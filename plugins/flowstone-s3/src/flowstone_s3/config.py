"""The settings of `s3_file_arrival`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_core.plugin_api import foreign_template
from flowstone_s3.connection import ConnectionConfig
from flowstone_s3.key_filter import Glob, Suffix
from flowstone_s3.partitioning import PartitionConfig
from flowstone_s3.prefixes import Prefixes

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s/]+:s3[^\s]*")
_UNBRACED = re.compile(r"(?<!\$)\$(year|month|day|hour)\b")


class ObjectsConfig(SensorConfig):
    """Settings of the watched objects, and of the changes that fire."""

    bucket: str = Field(description="the bucket's name, without s3://; or an access point's ARN")
    prefix: str = Field(
        "",
        description="only keys that begin with this prefix are listed; ${year}, ${month}, ${day} "
        "and ${hour} stand for the times since lookback",
    )
    lookback: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=3_660))] = Field(
        timedelta(days=2),
        description="age of the oldest prefix that is still listed, for a prefix with ${year}, "
        "counted from the last good poll; objects that arrive in an older prefix are not seen",
    )
    suffix: Suffix = ""
    glob: Glob = None
    on: Literal["created", "changed", "both"] = Field(
        "both",
        description="created: a key that was missing at the previous poll; changed: another ETag "
        "of a known key",
    )
    settle: Annotated[Duration, Field(le=timedelta(days=30))] = Field(
        timedelta(0),
        description="an object fires only after polls have shown its ETag, size and time "
        "unchanged for this duration",
    )
    window: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=3_660))] | None = Field(
        None,
        description="objects older than the latest one by more than this count as seen, and only "
        "younger ones are remembered; all are remembered if not set. Must exceed the longest "
        "upload",
    )
    expected_owner: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = Field(
        None,
        description="the 12-digit number of the AWS account that must own the bucket",
    )
    unreadable_keys: Literal["skip", "fail"] = Field(
        "skip",
        description="skip: an object whose key has no partition is left out, reported once, and "
        "tried again after a restart; fail: it fails the poll, and no object fires",
    )
    requester_pays: bool = Field(
        default=False, description="pay for listing a bucket whose requesters pay"
    )
    poll_timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=1))] = Field(
        timedelta(seconds=40),
        description="a poll that runs longer than this sends no further request, and fails; "
        "the sensor's deadline must exceed it by twice timeout",
    )

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, bucket: str) -> str:
        if bucket.startswith("s3://"):
            name, _, prefix = bucket.removeprefix("s3://").partition("/")
            meant = f"bucket = {name}" + (f" and prefix = {prefix}" if prefix else "")
            raise ValueError(f"bucket must not begin with s3://; write {meant}")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                f"invalid bucket name {bucket!r:.80}: use letters, digits, '.', '_' and '-', "
                "or the ARN of an access point"
            )
        return bucket

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        Prefixes(prefix)
        meant = foreign_template(prefix)
        if meant is None and "${" not in prefix and _UNBRACED.search(prefix):
            meant = _UNBRACED.sub(r"${\1}", prefix)
        if meant is not None:
            raise ValueError(
                f"invalid prefix {prefix!r:.200}: a token is written ${{year}} (write {meant:.200})"
            )
        return prefix

    @model_validator(mode="after")
    def _check_objects(self) -> ObjectsConfig:
        wrong = []
        if "lookback" in self.model_fields_set and not Prefixes(self.prefix).dated:
            wrong.append("lookback requires ${year} in prefix")
        if self.window is not None and self.on != "both":
            wrong.append(
                f"window and on = {self.on} exclude each other: keys older than the window are "
                "not remembered"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        prefixes = Prefixes(self.prefix)
        prefixes.at(datetime(2025, 1, 15, tzinfo=UTC), self.lookback, ZoneInfo("UTC"))
        return self


class S3FileArrivalConfig(PartitionConfig, ConnectionConfig, ObjectsConfig):
    """Settings of `s3_file_arrival`: objects, connection and partitions."""

    def prefixes(self, now: datetime) -> list[str]:
        """Return the prefixes of the lookback at a time, the earliest first, each once."""
        return Prefixes(self.prefix).at(now, self.lookback, ZoneInfo(self.timezone))

    def has_local_times(self) -> bool:
        """See `PartitionConfig.has_local_times`."""
        return Prefixes(self.prefix).dated or super().has_local_times()

    def local_times(self) -> list[str]:
        """See `PartitionConfig.local_times`."""
        return ["${year} in prefix", *super().local_times()]
