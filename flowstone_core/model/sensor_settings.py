"""Settings that every sensor has."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flowstone_core.model.setting_types import Age, PositiveDuration


class SensorSettings(BaseModel):
    """Settings that every sensor has, for all plugins."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    every: PositiveDuration = Field(
        timedelta(seconds=30), description="the interval between polls, start to start"
    )
    deadline: PositiveDuration = Field(
        timedelta(seconds=60), description="a poll past it is a timed-out tick"
    )
    isolation: Literal["thread", "process"] = Field(
        "thread", description="process: poll in a separate process, killed at the deadline"
    )
    backoff: PositiveDuration = Field(
        timedelta(seconds=5), description="the first delay after a failure; doubled each time"
    )
    backoff_limit: PositiveDuration = Field(
        timedelta(minutes=30), description="the longest delay after failures"
    )
    quarantine_after: Annotated[int, Field(ge=1)] = Field(
        10, description="failures in a row after which it is polled once an hour"
    )
    stale_after: PositiveDuration | None = Field(
        None, description="time without a successful poll until it is stale; 3 x every by default"
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
