"""The settings that belong to FlowStone itself: of a run, and of every sensor.

They are pydantic models, so wherever they come from (``setup.cfg``, a pipeline, the Python API)
they are read and checked the same way. A default is applied here and nowhere else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from flowstone_core.duration import format_duration, parse_duration


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a text such as '30s', or a timedelta")


Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_read_duration)]
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


class SensorSettings(BaseModel):
    """The settings that every sensor has, whichever plugin it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: PositiveDuration = Field(
        timedelta(seconds=30), description="the interval between polls, start to start"
    )
    deadline: PositiveDuration = Field(
        timedelta(seconds=60), description="a poll past it is a timed-out tick"
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
    first_poll: Literal["fire", "baseline"] = Field(
        "fire", description="fire for what already exists, or record it and fire nothing"
    )
    max_events: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_000, description="events in one transaction; more are committed in several"
    )
    enabled: bool = Field(default=True, description="whether it is polled at all")


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
