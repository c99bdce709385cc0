"""The settings of `s3_file_arrival`."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from flowstone_s3.connection import ConnectionConfig
from flowstone_s3.partitioning import PartitionConfig

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s/]+:s3[^\s]*")


class S3FileArrivalConfig(ConnectionConfig, PartitionConfig):
    """Which objects are watched, how they are reached, and which partition each belongs to."""

    bucket: str = Field(description="the bucket's name, without s3://")
    prefix: str = Field("", description="only keys that begin with it are listed")
    suffix: str = Field("", description="only keys that end with it count, such as .csv")
    glob: str | None = Field(
        None,
        min_length=1,
        description="only keys that match it as a whole count; * and ? match slashes as well",
    )

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, bucket: str) -> str:
        if bucket.startswith("s3://"):
            name, _, prefix = bucket.removeprefix("s3://").partition("/")
            meant = f"bucket = {name}" + (f" and prefix = {prefix}" if prefix else "")
            raise ValueError(f"a bucket is named without s3://; write {meant}")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                f"{bucket!r:.80} is no bucket's name: use letters, digits, '.', '_' and '-', "
                "or the ARN of an access point"
            )
        return bucket
