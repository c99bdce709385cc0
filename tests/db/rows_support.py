"""Helpers of the tests of `database_rows`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

from flowstone_db import DatabaseRows

from flowstone_core import NotTriggered, Triggered

Make = Callable[..., DatabaseRows]
DAY = date(2025, 1, 15)


def add(database: Any, *rows: tuple[Any, ...]) -> None:
    """Insert rows of an id, a time of 2025-01-15 and a tenant."""
    mark = database.mark
    for number, at, *tenant in rows:
        moment = at if at is None or len(at) > 8 else f"2025-01-15 {at}"
        statement = f"INSERT INTO orders VALUES ({mark}, {mark}, {mark})"  # noqa: S608
        database.execute(statement, number, moment, *(tenant or ["eu"]))


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def counts(outcome: Any) -> dict[Any, int]:
    """Return the number of rows of an outcome, by partition."""
    if isinstance(outcome, NotTriggered):
        return {}
    assert isinstance(outcome, Triggered)
    return {event.partition: event.payload["rows"] for event in outcome.events}  # type: ignore[index, misc]


def drain(sensor: DatabaseRows, state: Any) -> tuple[int, int, Any]:
    """Poll until nothing is found; returns how many rows were found in how many polls."""
    rows = polls = 0
    while found := counts(outcome := sensor.poll(stored(state))):
        rows, polls, state = rows + sum(found.values()), polls + 1, outcome.state
    return rows, polls, outcome.state
