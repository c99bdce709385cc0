"""Load: what the runners run, and what waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import schema

_rows = schema.materializations


@dataclass(frozen=True, slots=True)
class Load:
    """Materializations that run, and that wait for a runner.

    Attributes:
        running: Number of those that run, by the runner's id.
        oldest_due: Since when the oldest one that may start is due; None if none is.
    """

    running: Mapping[str, int]
    oldest_due: datetime | None


def read_load(connection: Connection, now: datetime) -> Load:
    """Return the load; two statements, each by an index."""
    running = (
        select(_rows.c.runner_id, func.count())
        .where(_rows.c.state == MaterializationState.RUNNING)
        .group_by(_rows.c.runner_id)
    )
    oldest = (
        select(_rows.c.available_at)
        .where(schema.CLAIMABLE, _rows.c.available_at <= now)
        .order_by(_rows.c.available_at)
        .limit(1)
    )
    counts = {str(runner): count for runner, count in connection.execute(running)}
    return Load(counts, connection.scalar(oldest))
