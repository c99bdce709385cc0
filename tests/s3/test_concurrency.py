"""Concurrency of `s3_file_arrival`: uploads while threads run, pause, reset and replace it."""

from __future__ import annotations

from typing import Any

import pytest
from flowstone_s3 import S3FileArrival

from flowstone_core import Pipeline
from flowstone_core.testing import ConcurrencyHarness


@pytest.mark.parametrize("options", [{}, {"max_events": 1}], ids=["together", "one by one"])
def test_threads_lose_or_double_no_object(moto_bucket: Any, options: dict[str, object]) -> None:
    def declare(pipeline: Pipeline) -> None:
        given = moto_bucket.options | {"partition_pattern": r"(?P<name>file-\d+)"} | options
        pipeline.sensor("arrivals", S3FileArrival, asset="made", **given)

    def put(number: int) -> str:
        moto_bucket.put(f"orders/file-{number:04}.csv", b"x")
        return f"file-{number:04}"

    report = ConcurrencyHarness(declare, change=put, operations=10).run()
    report.assert_sound()
    assert report.changes
