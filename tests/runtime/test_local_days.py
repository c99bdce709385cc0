"""Schedules of a runner over the end of a day that clocks skip, and over a day that they skip."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from flowstone_core import Flowstone, Pipeline
from flowstone_core.testing import FakeClock

NUUK = ("America/Nuuk", "2026-03-26T12:00Z", ["03-26", "03-27", "03-28", "03-29", "03-30"])
APIA = ("Pacific/Apia", "2011-12-28T10:00Z", ["12-28", "12-29", "12-31", "01-01"])


@pytest.mark.parametrize(("zone", "begin", "days"), [NUUK, APIA])
@pytest.mark.parametrize("trigger", [{"cron": "30 23 * * *"}, {"every": "day at 23:30"}])
@pytest.mark.parametrize(
    "naming",
    [
        {},
        {"partition": "${year}-${month}-${day}"},
        {"partition_fn": lambda at: at.date()},
    ],
)
def test_F5_F5b_runner_requests_each_local_day_once(zone, begin, days, trigger, naming):
    pipeline, clock = Pipeline("shop"), FakeClock(datetime.fromisoformat(begin))
    pipeline.asset(name="report")(lambda context: None)
    pipeline.schedule("report", timezone=zone, overlap="allow", **trigger, **naming)
    with Flowstone(pipeline, store="sqlite://", clock=clock) as flow:
        for _ in range(len(days) + 1):
            flow.run(once=True)
            clock.advance(timedelta(days=1))
        found = [item.partition for item in reversed(flow.materializations.latest())]
        assert [text[-5:] for text in found] == days
        first, last = (datetime.fromisoformat(text[2:]).date() for text in (found[0], found[-1]))
        span = flow.backfills.range("report", first, last)
        assert [f"d:{day}" for day in span] == found
