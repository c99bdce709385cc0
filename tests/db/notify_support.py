"""Helpers of the tests of `postgres_notify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

from flowstone_db import PostgresNotify

from flowstone_core import NotTriggered, Triggered

Make = Callable[..., PostgresNotify]
DAY = date(2025, 1, 15)
LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'flowstone' "
    "AND datname = current_database() AND query LIKE '%pg_listening_channels%'"
)


def notify(database: Any, *payloads: str, channel: str = "orders") -> None:
    for payload in payloads:
        database.execute("SELECT pg_notify(%s, %s)", channel, payload)


def order(database: Any, number: int, *, tell: bool = True) -> None:
    """Insert an order, and tell of it in the same transaction, as a trigger would."""
    with database.connect() as session:
        session.execute("INSERT INTO orders VALUES (%s, 'eu')", (number,))
        if tell:
            session.execute("SELECT pg_notify('orders', %s)", (str(number),))


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def begin(sensor: PostgresNotify) -> Any:
    """Have a sensor listen; returns the state that is committed."""
    outcome = sensor.poll(sensor.init())
    return stored(outcome.state)


def payloads(outcome: Any) -> list[Any]:
    """Return the payload text, or the value and its predecessor, of each event of an outcome."""
    if isinstance(outcome, NotTriggered):
        return []
    assert isinstance(outcome, Triggered)
    found: list[Any] = [event.payload for event in outcome.events]
    return [each.get("payload") or (each["previous"], each["value"]) for each in found]


def keys(outcome: Any) -> list[str]:
    return [event.key for event in outcome.events]
