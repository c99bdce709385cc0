"""Concurrency of `webhook`: new responses while threads run, pause, reset and replace it."""

from __future__ import annotations

from typing import Any

from flowstone_http import Webhook

from flowstone_core import Pipeline
from flowstone_core.testing import ConcurrencyHarness


def test_threads_lose_or_double_no_response(server: Any) -> None:
    days: list[str] = []
    server.say = lambda request, connection: server.reply({"days": list(days)})

    def declare(pipeline: Pipeline) -> None:
        pipeline.sensor(
            "days", Webhook, asset="made", url=f"{server.url}/days", partition="days", timeout="20s"
        )

    def say(number: int) -> str:
        days.append(f"day-{number:03}")
        return days[-1]

    report = ConcurrencyHarness(declare, change=say, operations=20).run()
    report.assert_sound()
    assert report.changes
