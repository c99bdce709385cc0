"""The settings of `s3_file_arrival`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from flowstone_core import Duration, SensorConfig
from flowstone_s3.connection import ConnectionConfig
from flowstone_s3.partitioning import PartitionConfig
from flowstone_s3.prefixes import Prefixes

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s/]+:s3[^\s]*")


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r:.80}: use an IANA name such as Europe/Warsaw"
        ) from None
    return name


class ObjectsConfig(SensorConfig):
    """Which objects are watched, and what of them fires."""

    bucket: str = Field(description="the bucket's name, without s3://; or an access point's ARN")
    prefix: str = Field(
        "",
        description="only keys that begin with it are listed; ${year}, ${month}, ${day} and "
        "${hour} in it are those of the latest time, see lookback",
    )
    lookback: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=3_660))] = Field(
        timedelta(days=2),
        description="of a prefix with ${year}: from how long ago on the prefixes are listed, "
        "beside that of now; what arrives in one later is not seen",
    )
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        "UTC", description="of a prefix with ${year}: the IANA name of the zone of its dates"
    )
    suffix: str = Field("", description="only keys that end with it count, such as .csv")
    glob: str | None = Field(
        None,
        min_length=1,
        description="only keys that match it as a whole count; * and ? match slashes as well, "
        "letters must match in case",
    )
    on: Literal["created", "changed", "both"] = Field(
        "both",
        description="created: a key that was not there at the poll before; changed: another ETag "
        "of a key that was",
    )
    settle: Annotated[Duration, Field(le=timedelta(days=30))] = Field(
        timedelta(0),
        description="an object fires only when polls have shown its ETag, size and time "
        "unchanged for so long",
    )
    window: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=3_660))] | None = Field(
        None,
        description="objects modified longer ago than this before the latest one count as seen, "
        "only younger ones are remembered; all are if not set. Longer than the longest upload",
    )
    expected_owner: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = Field(
        None,
        description="the number of the AWS account, 12 digits, that the bucket must belong to",
    )
    requester_pays: bool = Field(
        default=False, description="whether to pay for listing a bucket that makes requesters pay"
    )
    poll_timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=1))] = Field(
        timedelta(seconds=40),
        description="how long after its start a poll makes no further request, new or repeated, "
        "and fails; keep the sensor's deadline above it by twice timeout",
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

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        Prefixes(prefix)
        return prefix

    @model_validator(mode="after")
    def _check_objects(self) -> ObjectsConfig:
        wrong = [
            f"{name} has no meaning: prefix has no ${{year}}"
            for name in ("lookback", "timezone")
            if name in self.model_fields_set and not Prefixes(self.prefix).dated
        ]
        if self.window is not None and self.on != "both":
            wrong.append(
                f"window and on = {self.on} exclude each other: of a key older than the window it "
                "is not known that it was there"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        self.prefixes(datetime(2025, 1, 15, tzinfo=UTC))
        return self

    def prefixes(self, now: datetime) -> list[str]:
        """Return the prefixes to list at a time, the earliest first, each once."""
        return Prefixes(self.prefix).at(now, self.lookback, ZoneInfo(self.timezone))


class S3FileArrivalConfig(PartitionConfig, ConnectionConfig, ObjectsConfig):
    """Which objects are watched, how they are reached, and which partition each belongs to."""
