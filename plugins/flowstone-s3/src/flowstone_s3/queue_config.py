"""The settings of `s3_event_queue`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_s3.connection import ConnectionConfig
from flowstone_s3.partitioning import PartitionConfig

_AMAZON = re.compile(r"(?:.*\.)?sqs(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\..*\bamazonaws\.com.*")


class MessagesConfig(SensorConfig):
    """Which messages are read, and what of them fires."""

    queue_url: str = Field(
        description="the queue's URL, such as "
        "https://sqs.eu-west-1.amazonaws.com/123456789012/name; the region in it counts where "
        "region is not set"
    )
    bucket: str | None = Field(
        None, min_length=1, description="only messages about this bucket count; all do if not set"
    )
    prefix: str = Field("", description="only keys that begin with it count")
    suffix: str = Field("", description="only keys that end with it count, such as .csv")
    glob: str | None = Field(
        None,
        min_length=1,
        description="only keys that match it as a whole count; * and ? match slashes as well, "
        "letters must match in case",
    )
    wait: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(seconds=20))] = Field(
        timedelta(0),
        description="how long a poll waits for a message where there is none, in whole seconds, "
        "20 s at most; it holds one of poll_threads meanwhile",
    )
    visibility: Annotated[Duration, Field(ge=timedelta(seconds=10), le=timedelta(hours=12))] = (
        Field(
            timedelta(minutes=5),
            description="how long a message that was read is hidden from other readers; longer "
            "than every and deadline together, because it is deleted by the poll after",
        )
    )
    max_messages: Annotated[int, Field(ge=1, le=1_000)] = Field(
        200, description="most messages of one poll; more are read by the next"
    )
    rejects_queue_url: str | None = Field(
        None,
        description="a queue that messages which cannot be used are moved to; without it they "
        "stay where they are, hidden for 12 hours at a time",
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
                f"{url!r:.120} is no queue's URL: write https://HOST/ACCOUNT/NAME, as the console "
                "of SQS shows it"
            )
        return url

    @field_validator("wait", "visibility")
    @classmethod
    def _check_seconds(cls, duration: timedelta) -> timedelta:
        if duration % timedelta(seconds=1):
            raise ValueError("SQS takes whole seconds")
        return duration

    @model_validator(mode="after")
    def _check_queues(self) -> MessagesConfig:
        if self.rejects_queue_url == self.queue_url:
            raise ValueError("rejects_queue_url must be another queue than queue_url")
        return self


class S3EventQueueConfig(PartitionConfig, ConnectionConfig, MessagesConfig):
    """Which queue is read, how it is reached, and which partition each object belongs to."""

    @property
    def queue_region(self) -> str | None:
        """The region that is set, else the one in the queue's URL, if it is Amazon's."""
        return self.region or _region_in(self.queue_url)

    @model_validator(mode="after")
    def _check_region(self) -> S3EventQueueConfig:
        named = _region_in(self.queue_url)
        if self.endpoint_url is None and named is not None and self.region not in {None, named}:
            raise ValueError(f"queue_url is in {named}, and region says {self.region}")
        return self

    @model_validator(mode="after")
    def _check_timeout(self) -> S3EventQueueConfig:
        if self.timeout <= self.wait:
            raise ValueError("timeout must be longer than wait: an answer takes as long")
        return self


def _region_in(url: str) -> str | None:
    found = _AMAZON.fullmatch(urlsplit(url).hostname or "")
    return None if found is None else found[1]
