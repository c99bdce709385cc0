"""The settings that belong to FlowStone itself: of a run, of every sensor, of a schedule.

They are pydantic models, so wherever they come from (``setup.cfg``, a pipeline, the Python API)
they are read and checked the same way. A default is applied here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

from flowstone_core.document import PAYLOAD_LIMIT, JsonObject, dump_document
from flowstone_core.duration import format_duration, parse_duration
from flowstone_core.redaction import looks_secret
from flowstone_core.template import PartitionTemplate
from flowstone_core.zone import load_zone


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a text such as '30s', or a timedelta")


# pydantic's own text for 366 days is P1Y1D, which is no duration here.
_written = PlainSerializer(format_duration, return_type=str, when_used="json")

Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_read_duration), _written]
"""A timedelta that configuration writes as ``30s``, ``1h30m`` or ISO 8601."""


def _within(shortest: timedelta, longest: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if shortest <= value <= longest:
            return value
        bounds = f"{format_duration(shortest)} to {format_duration(longest)}"
        raise ValueError(f"{format_duration(value)} is out of bounds: use {bounds}")

    return AfterValidator(check)


PositiveDuration: TypeAlias = Annotated[
    Duration, _within(timedelta(milliseconds=1), timedelta(days=366))
]
"""A duration that is longer than nothing, and no longer than a year."""

SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=36_525)
"""What is younger may still be in somebody's hands; a century is as good as for ever."""

Age: TypeAlias = Annotated[Duration, _within(SHORTEST, LONGEST)]
"""How old something has to be before it goes."""


class SensorSettings(BaseModel):
    """The settings that every sensor has, whichever plugin it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: PositiveDuration = Field(
        timedelta(seconds=30), description="the interval between polls, start to start"
    )
    deadline: PositiveDuration = Field(
        timedelta(seconds=60), description="a poll past it is a timed-out tick"
    )
    isolation: Literal["thread", "process"] = Field(
        "thread", description="process: it is polled in one of its own, killed at its deadline"
    )
    backoff: PositiveDuration = Field(
        timedelta(seconds=5), description="the first delay after a failure; doubled each time"
    )
    backoff_limit: PositiveDuration = Field(
        timedelta(minutes=30), description="the longest delay after failures"
    )
    quarantine_after: Annotated[int, Field(ge=1)] = Field(
        10, description="after so many failures in a row, one try an hour"
    )
    stale_after: PositiveDuration | None = Field(
        None, description="no good poll for so long, and it shows as stale; 3 x every by default"
    )
    first_poll: Literal["fire", "baseline"] = Field(
        "fire", description="fire for what already exists, or record it and fire nothing"
    )
    max_events: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_000, description="events in one transaction; more are committed in several"
    )
    dedupe_for: Age = Field(
        timedelta(days=90), description="how long an event's key is remembered; then it may recur"
    )
    enabled: bool = Field(default=True, description="whether it is polled at all")


class Catchup(StrEnum):
    """What becomes of instants that were missed."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """What becomes of an instant that comes while the schedule's last materialization runs."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    ALLOW = "allow"


def _read_zone(value: str) -> str:
    return load_zone(value).key


def _read_template(value: str) -> str:
    return PartitionTemplate(value).text


def _read_moment(value: object) -> object:
    if isinstance(value, datetime | date):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError("a moment is a text such as '2026-01-31' or '2026-01-31T08:00', or a date")
    try:
        return datetime.fromisoformat(value.strip()).isoformat()
    except ValueError:
        allowed = "use ISO 8601, such as 2026-01-31 or 2026-01-31T08:00+01:00"
        raise ValueError(f"{value!r:.80} is no moment: {allowed}") from None


def _read_metadata(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = {}
    for line in filter(None, map(str.strip, value.splitlines())):
        key, equals, text = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r:.80} is no 'key = value'; write one a line")
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
"""A date or a datetime as ISO 8601 text; without an offset it is in the schedule's time zone."""


class ScheduleSettings(BaseModel):
    """The settings that every schedule has beside its asset and its trigger."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: Annotated[str, AfterValidator(_read_zone)] = Field(
        "UTC", description="the IANA name of the zone that the trigger is meant in"
    )
    partition: Annotated[str, AfterValidator(_read_template)] | None = Field(
        None, description="a template over the instant; its date in the zone by default"
    )
    catchup: Catchup = Field(
        Catchup.LATEST, description="which missed instants are caught up: none, latest or all"
    )
    catchup_window: Annotated[Duration, _within(timedelta(minutes=1), timedelta(days=366))] = Field(
        timedelta(days=1), description="how long ago a missed instant may be to be caught up"
    )
    overlap: Overlap = Field(
        Overlap.SKIP,
        description="while the last one runs: skip, buffer_one, buffer_all or allow",
    )
    jitter: Annotated[Duration, _within(timedelta(0), timedelta(days=1))] = Field(
        timedelta(0), description="at most so long after its instant it fires"
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


class RunSettings(BaseModel):
    """The settings of the ``[flowstone]`` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field("sqlite:///flowstone.db", description="the store's URL")
    engine: str = Field("local", description="what carries materializations")
    pipelines: tuple[str, ...] = Field((), description="module:name of each pipeline, one a line")
    plugins: tuple[str, ...] | None = Field(
        None, description="only these distributions are loaded; all that are installed by default"
    )
    poll_threads: Annotated[int, Field(ge=1, le=1_000)] = Field(
        32, description="polls that may run at once"
    )
    asset_threads: Annotated[int, Field(ge=1, le=1_000)] = Field(
        8, description="materializations that may run at once"
    )
    grace: Annotated[Duration, _within(timedelta(0), timedelta(days=1))] = Field(
        timedelta(seconds=30), description="how long a graceful stop waits for what runs"
    )
    lease: Annotated[Duration, _within(timedelta(seconds=1), timedelta(hours=1))] = Field(
        timedelta(seconds=30), description="how long a runner that is not heard of keeps its work"
    )
    retention: Age | None = Field(None, description="how long history is kept; for ever by default")
