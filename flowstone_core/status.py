"""How things stand, for people: what commands and pages show of the store and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from flowstone_core.declaration import SensorDeclaration
from flowstone_core.engine import RunnerInfo
from flowstone_core.materialization import MaterializationState
from flowstone_core.store import SensorRecord
from flowstone_core.tick import TickOutcome


class SensorHealth(StrEnum):
    """How a sensor does, in one word; the first that applies."""

    DISABLED = "disabled"
    """Switched off where it is declared."""
    PAUSED = "paused"
    """Stopped by an operator."""
    BROKEN = "broken"
    """It said that no retry helps; it waits for a reset."""
    QUARANTINED = "quarantined"
    """Failed so often in a row that it is tried once an hour."""
    FAILING = "failing"
    NEW = "new"
    """Not polled yet."""
    UNDECLARED = "undeclared"
    """Known to the store, and declared nowhere any more."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor, as declared and as the store knows it.

    Attributes:
        type: What configuration calls it; None when it is declared nowhere any more.
        failures: Failed ticks in a row.
        not_before: When it is polled next at the earliest, if it backs off.
        last_tick_at: The last tick that was not quiet.
        owner: The id of the runner that ticks it.
    """

    name: str
    health: SensorHealth
    type: str | None = None
    asset: str | None = None
    every: timedelta | None = None
    where: str = ""
    failures: int = 0
    not_before: datetime | None = None
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    last_error: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at a glance.

    Attributes:
        store: The store's URL, without its password.
        runners: Those that are alive.
    """

    store: str
    runners: tuple[RunnerInfo, ...]
    sensors: tuple[SensorStatus, ...]
    materializations: Mapping[MaterializationState, int]


def sensor_statuses(
    declared: Mapping[str, SensorDeclaration], records: Mapping[str, SensorRecord]
) -> tuple[SensorStatus, ...]:
    """Bring together what is declared and what is stored, by name."""
    return tuple(
        sensor_status(name, declared.get(name), records.get(name))
        for name in sorted({*declared, *records})
    )


def sensor_status(
    name: str, declaration: SensorDeclaration | None, record: SensorRecord | None
) -> SensorStatus:
    """Say how one sensor stands."""
    health = _health(declaration, record)
    return SensorStatus(
        name,
        health,
        type=declaration.type if declaration else None,
        asset=declaration.asset if declaration else None,
        every=declaration.settings.every if declaration else None,
        where=declaration.where if declaration else "",
        failures=record.memory.failures if record else 0,
        not_before=record.memory.not_before if record else None,
        last_tick_at=record.last_tick_at if record else None,
        last_outcome=record.last_outcome if record else None,
        last_error=record.last_error if record else None,
        owner=record.owner if record else None,
    )


def _health(declaration: SensorDeclaration | None, record: SensorRecord | None) -> SensorHealth:
    if declaration is None:
        return SensorHealth.UNDECLARED
    if not declaration.settings.enabled:
        return SensorHealth.DISABLED
    if record is None:
        return SensorHealth.NEW
    if record.paused:
        return SensorHealth.PAUSED
    if record.memory.broken:
        return SensorHealth.BROKEN
    if record.memory.failures >= declaration.settings.quarantine_after:
        return SensorHealth.QUARANTINED
    if record.memory.failures:
        return SensorHealth.FAILING
    return SensorHealth.OK if record.memory.polled else SensorHealth.NEW
