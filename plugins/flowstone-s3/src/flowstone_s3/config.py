"""The settings of `s3_file_arrival`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ImportString, SecretStr, field_validator, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_s3.partitioning import KeyPattern

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s/]+:s3[^\s]*")

Secret = Annotated[SecretStr, Field(min_length=1)]


class S3FileArrivalConfig(SensorConfig):
    """Which objects are watched, how they are reached, and which partition each belongs to."""

    bucket: str = Field(description="the bucket's name, without s3://")
    prefix: str = Field("", description="only keys that begin with it are listed")
    suffix: str = Field("", description="only keys that end with it count, such as .csv")
    glob: str | None = Field(
        None,
        min_length=1,
        description="only keys that match it as a whole count; * and ? match slashes as well",
    )
    endpoint_url: str | None = Field(
        None, description="where S3 is, such as http://127.0.0.1:9000; Amazon S3 if not set"
    )
    region: str | None = Field(None, min_length=1, description="the bucket's region")
    profile: str | None = Field(
        None, min_length=1, description="a profile of the AWS configuration; excludes access_key"
    )
    access_key: Secret | None = Field(
        None, description="goes with secret_key; without both, the usual AWS places are asked"
    )
    secret_key: Secret | None = Field(None, description="goes with access_key")
    session_token: Secret | None = Field(
        None, description="of temporary credentials, beside access_key and secret_key"
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = Field(
        timedelta(seconds=10), description="how long one request may take to connect, or to answer"
    )
    partition_pattern: str | None = Field(
        None,
        description="a regular expression, searched in the key, whose named groups make the "
        "partition: year, month, day (and hour) a date (or datetime), any other a string",
    )
    partition_fn: ImportString[Callable[[str], object]] | None = Field(
        None,
        description="module:name of a function that takes the key and returns the partition, "
        "or None to leave the object out",
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

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("credentials do not belong in a URL; use access_key and secret_key")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r:.80} is no endpoint; write http://HOST:PORT or https://HOST")
        return url

    @field_validator("partition_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            KeyPattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _check_together(self) -> S3FileArrivalConfig:
        wrong = []
        if (self.access_key is None) != (self.secret_key is None):
            wrong.append("access_key and secret_key go together: set both, or neither")
        if self.session_token is not None and self.access_key is None:
            wrong.append("session_token goes with access_key and secret_key")
        if self.profile is not None and self.access_key is not None:
            wrong.append("profile and access_key exclude each other")
        if self.partition_pattern is not None and self.partition_fn is not None:
            wrong.append("partition_pattern and partition_fn exclude each other")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
