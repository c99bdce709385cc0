"""Run settings: the ``[flowstone]`` section, which configures the runner and its store."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flowstone_core.errors import InvalidSecretError
from flowstone_core.model.role import Role
from flowstone_core.model.setting_types import Age, Duration, duration_within
from flowstone_core.model.url_text import has_unescaped_at

_STORE = re.compile(r"(?:sqlite(?:\+\w+)?|postgres(?:ql(?:\+psycopg)?)?)://")


def _check_store(url: str) -> str:
    if has_unescaped_at(url):
        raise InvalidSecretError("unescaped '@' (write @ in a user, a password or a query as %40)")
    if not _STORE.match(url):
        raise InvalidSecretError(
            "unsupported store URL: "
            "use sqlite:///path/to/file.db or postgresql://user@host/database"
        )
    return url


class RunSettings(BaseModel):
    """The settings of the ``[flowstone]`` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: Annotated[str, AfterValidator(_check_store)] = Field(
        "sqlite:///flowstone.db", description="the store's URL"
    )
    engine: str = Field("local", description="the engine that runs materializations")
    role: Role = Field(
        Role.ALL,
        description="what a runner does: `all`; `sensors`: ticks sensors and schedules only; "
        "`workers`: runs materializations only",
    )
    pipelines: tuple[str, ...] = Field((), description="module:name of each pipeline, one a line")
    plugins: tuple[str, ...] | None = Field(
        None, description="load only plugins of these distributions; all installed ones by default"
    )
    poll_threads: Annotated[int, Field(ge=1, le=1_000)] = Field(
        32, description="maximum number of polls that run at once"
    )
    asset_threads: Annotated[int, Field(ge=1, le=1_000)] = Field(
        8, description="maximum number of materializations that run at once"
    )
    grace: Annotated[Duration, duration_within(timedelta(0), timedelta(days=1))] = Field(
        timedelta(seconds=30), description="how long a graceful stop waits for running work"
    )
    lease: Annotated[Duration, duration_within(timedelta(seconds=1), timedelta(hours=1))] = Field(
        timedelta(seconds=15),
        description="how long a runner keeps its work without renewing its lease",
    )
    store_wait: Annotated[Duration, duration_within(timedelta(0), timedelta(days=1))] = Field(
        timedelta(minutes=5),
        description="how long a start, a backfill or a request waits for an unavailable store",
    )
    retention: Age | None = Field(None, description="how long history is kept; for ever by default")
