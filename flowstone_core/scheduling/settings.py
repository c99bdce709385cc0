"""Settings of schedules, with their types and policies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from flowstone_core.model.json_document import PAYLOAD_LIMIT, JsonObject, dump_document
from flowstone_core.model.redaction import looks_secret
from flowstone_core.model.setting_types import Duration, duration_within
from flowstone_core.scheduling.foreign_template import refuse_foreign
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.time_zone import load_zone


class Catchup(StrEnum):
    """Policy for missed instants."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """Policy for an instant that is due while the schedule's last materialization runs."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    ALLOW = "allow"


def _read_zone(value: str) -> str:
    return load_zone(value).key


def _read_template(value: str) -> str:
    template = PartitionTemplate(value)
    refuse_foreign(value)
    return template.text


def _read_moment(value: object) -> object:
    if isinstance(value, datetime | date):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError(
            "a moment must be text such as '2026-01-31' or '2026-01-31T08:00', or a date"
        )
    try:
        return datetime.fromisoformat(value.strip()).isoformat()
    except ValueError:
        allowed = "use ISO 8601, such as 2026-01-31 or 2026-01-31T08:00+01:00"
        raise ValueError(f"invalid moment {value!r:.80}: {allowed}") from None


def _read_metadata(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = {}
    for line in filter(None, map(str.strip, value.splitlines())):
        key, equals, text = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r:.80} is not 'key = value'; write one per line")
        pairs[key.strip()] = text.strip()
    return pairs


def _check_metadata(value: Mapping[str, Any]) -> JsonObject:
    document: JsonObject = dict(value)
    for key in document:
        if looks_secret(str(key)):
            raise ValueError(f"{key!r:.80} looks like a secret; metadata is stored and shown")
    dump_document(document, what="the metadata", limit=PAYLOAD_LIMIT)
    return document


Moment: TypeAlias = Annotated[str, BeforeValidator(_read_moment)]
"""A date or datetime as ISO 8601 text; without an offset, in the schedule's time zone."""


class ScheduleSettings(BaseModel):
    """Settings that every schedule has besides its asset and its trigger."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    timezone: Annotated[str, AfterValidator(_read_zone)] = Field(
        "UTC", description="the IANA name of the zone that the trigger is meant in"
    )
    partition: Annotated[str, AfterValidator(_read_template)] | None = Field(
        None, description="a template over the instant; its date in the zone by default"
    )
    catchup: Catchup = Field(
        Catchup.LATEST, description="which missed instants are caught up: none, latest or all"
    )
    catchup_window: Annotated[
        Duration, duration_within(timedelta(minutes=1), timedelta(days=366))
    ] = Field(timedelta(days=1), description="how long ago a missed instant may be to be caught up")
    overlap: Overlap = Field(
        Overlap.SKIP,
        description="while the last one runs: skip, buffer_one, buffer_all or allow",
    )
    jitter: Annotated[Duration, duration_within(timedelta(0), timedelta(days=1))] = Field(
        timedelta(0), description="maximum random delay after the instant"
    )
    start: Moment | None = Field(None, description="it does not fire before")
    end: Moment | None = Field(None, description="it does not fire after")
    pause_on_failure: bool = Field(
        default=False, description="whether it is paused when a materialization is discarded"
    )
    enabled: bool = Field(default=True, description="whether it fires at all")
    metadata: Annotated[
        Mapping[str, Any], BeforeValidator(_read_metadata), AfterValidator(_check_metadata)
    ] = Field({}, description="your own notes on it, one key = value a line")
