"""Helpers of the tests of seen objects."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from flowstone_s3.listing import S3Object
from flowstone_s3.seen_objects import DetectionRules, SeenObjects
from flowstone_s3.state import SeenState

NOW = datetime(2025, 1, 15, 12, 59, tzinfo=UTC)
OLD = datetime(2024, 12, 1, tzinfo=UTC)


def item(key: str, etag: str, second: float, size: int = 1) -> S3Object:
    return S3Object(key, etag, size, OLD + timedelta(seconds=second))


def look(
    state: SeenState, *objects: tuple[str, str, int], now: datetime = NOW, **rules: Any
) -> tuple[list[str], SeenState]:
    """Poll a listing of (key, ETag, written at second); return the new keys and the state."""
    memory = SeenObjects(json.loads(json.dumps(state)), now, DetectionRules(**rules))
    new = [each[0] for each in objects if memory.observe(item(*each))]
    return new, memory.state()


A1, A2, B = ("a", "one", 1), ("a", "two", 2), ("b", "one", 1)
