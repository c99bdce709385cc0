"""Phrases that explanations of sensors, schedules and materializations share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flowstone_core.model.duration import format_duration
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.partition import show_partition
from flowstone_core.model.tick import Tick, TickOutcome


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of the state of one thing.

    Attributes:
        subject: Such as ``sensor new_orders``.
        facts: Sentences, the most important first.
    """

    subject: str
    facts: tuple[str, ...]


def owned_by(owner: str | None, runners: Sequence[RunnerInfo], does: str) -> str:
    """Return the sentence about the runner that owns a sensor or schedule."""
    if not runners:
        return f"No runner is alive, so none {does} it (to start one: flowstone run)."
    for runner in runners:
        if runner.id == owner:
            return f"Runner {runner.host}, process {runner.pid}, {does} it."
    if owner is None:
        return f"No runner {does} it yet; one that declares it claims it within seconds."
    return "Its runner has stopped renewing its lease; another runner takes over when it expires."


def tick_in_words(tick: Tick) -> str:
    """Return the outcome of a tick in words."""
    if tick.outcome is TickOutcome.BASELINE:
        return "first poll, recorded as baseline (first_poll = baseline)"
    error = f": {tick.error}" if tick.error else ""
    events = counted(tick.events, "event")
    return f"{tick.outcome}, {events}, {tick.duplicates} suppressed{error}"


def event_in_words(event: StoredEvent) -> str:
    """Return an event in words."""
    number = event.materialization_id
    requested = f", materialization {number}" if number else ""
    return f"{event.asset} {show_partition(event.partition)}, key {event.key}{requested}"


def whole_seconds(duration: timedelta) -> str:
    """Return a duration in words, in whole seconds."""
    return format_duration(timedelta(seconds=round(duration.total_seconds())))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def at(moment: datetime | None) -> str:
    """Return a moment in UTC, in words."""
    return "no time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def not_loaded_in_words(changes: Sequence[str]) -> str:
    """Return the sentence for changes on disk that a runner has not loaded."""
    told = "; ".join(changes)
    return f"Changed on disk, not loaded by the runner (start the runner again): {told}."
