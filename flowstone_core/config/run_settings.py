"""Run settings: the ``[flowstone]`` section, which configures the runner and its store."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flowstone_core.model.setting_types import Age, Duration, _within


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
