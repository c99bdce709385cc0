"""Write probe: a write as a tick makes it, rolled back, to learn if the store takes writes."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn

from sqlalchemy import Connection, insert

from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import TickOutcome
from flowstone_core.store import schema
from flowstone_core.store.database import Database

_EPOCH = datetime.fromtimestamp(0, UTC)


class _RolledBackError(Exception):
    """Rolls a transaction back."""


def check_writable(database: Database) -> None:
    """Check that the ticks of a runner can be committed; nothing is changed.

    Raises:
        StoreError: If the store only reads, is locked or full, or lacks a table or a right.
    """
    with suppress(_RolledBackError):
        database.write(_write_and_roll_back)


def _write_and_roll_back(connection: Connection) -> NoReturn:
    # Under numbers and names that nobody else has: nobody waits for this.
    probe = uuid.uuid4()
    name, number = probe.hex, -(probe.int >> 66) - 1
    tick = insert(schema.ticks).values(
        id=number,
        source=name,
        outcome=TickOutcome.TRIGGERED,
        started_at=_EPOCH,
        finished_at=_EPOCH,
        events=1,
        duplicates=0,
    )
    materialization = insert(schema.materializations).values(
        id=number,
        run_id=name,
        asset=name,
        partition=name,
        state=MaterializationState.PENDING,
        attempt=0,
        max_attempts=1,
        requested_at=_EPOCH,
    )
    event = insert(schema.events).values(
        id=number,
        source=name,
        key=name,
        asset=name,
        partition=name,
        created_at=_EPOCH,
        materialization_id=number,
        tick_id=number,
    )
    for statement in (tick, materialization, event):
        connection.execute(statement)
    raise _RolledBackError
