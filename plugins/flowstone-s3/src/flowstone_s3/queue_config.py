"""The settings of `s3_event_queue`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_s3.connection import ConnectionConfig
from flowstone_s3.key_filter import Glob, Suffix
from flowstone_s3.partitioning import PartitionConfig

_AMAZON = re.compile(r"(?:.*\.)?sqs(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\..*\bamazonaws\.com.*")


class MessagesConfig(SensorConfig):
    """Settings of the queue, and of the messages that fire."""

    queue_url: str = Field(
        description="the queue's URL, such as "
        "https://sqs.eu-west-1.amazonaws.com/123456789012/name; its region is used if region is "
        "not set"
    )
    bucket: str | None = Field(
        None, min_length=1, description="only messages about this bucket count; all do if not set"
    )
    prefix: str = Field("", description="only keys that begin with this prefix count")
    suffix: Suffix = ""
    glob: Glob = None
    wait: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(seconds=20))] = Field(
        timedelta(0),
        description="wait of a poll for a message in an empty queue, in whole seconds, at most "
        "20 s; the poll occupies one of poll_threads meanwhile",
    )
    visibility: Annotated[Duration, Field(ge=timedelta(seconds=10), le=timedelta(hours=12))] = (
        Field(
            timedelta(minutes=5),
            description="visibility timeout of a received message; must exceed every and deadline "
            "together, because the next poll deletes the message",
        )
    )
    max_messages: Annotated[int, Field(ge=1, le=1_000)] = Field(
        200, description="most messages of one poll; the next poll reads the rest"
    )
    rejects_queue_url: str | None = Field(
        None,
        description="a queue for unusable messages; without it they stay in the queue, hidden for "
        "12 hours at a time",
    )

    @field_validator("queue_url", "rejects_queue_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        named = parts.scheme in {"http", "https"} and parts.hostname and parts.path.strip("/")
        if not named or parts.username is not None:
            raise ValueError(
                f"invalid queue URL {url!r:.120}: write https://HOST/ACCOUNT/NAME, as the SQS "
                "console shows it"
            )
        return url

    @field_validator("wait", "visibility")
    @classmethod
    def _check_seconds(cls, duration: timedelta) -> timedelta:
        if duration % timedelta(seconds=1):
            raise ValueError("the duration must be in whole seconds")
        return duration

    @model_validator(mode="after")
    def _check_queues(self) -> MessagesConfig:
        if self.rejects_queue_url == self.queue_url:
            raise ValueError("rejects_queue_url must be another queue than queue_url")
        return self


class S3EventQueueConfig(PartitionConfig, ConnectionConfig, MessagesConfig):
    """Settings of `s3_event_queue`: queue, connection and partitions."""

    @property
    def queue_region(self) -> str | None:
        """The configured region, or else the region in an Amazon queue URL."""
        return self.region or _region_in(self.queue_url)

    @model_validator(mode="after")
    def _check_region(self) -> S3EventQueueConfig:
        named = _region_in(self.queue_url)
        if self.endpoint_url is None and named is not None and self.region not in {None, named}:
            raise ValueError(f"queue_url is in {named}, but region is {self.region}")
        return self

    @model_validator(mode="after")
    def _check_timeout(self) -> S3EventQueueConfig:
        if self.timeout <= self.wait:
            raise ValueError("timeout must be longer than wait: a response may take that long")
        return self


def _region_in(url: str) -> str | None:
    found = _AMAZON.fullmatch(urlsplit(url).hostname or "")
    return None if found is None else found[1]
