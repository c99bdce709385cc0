"""Rows of listings for schedules and skips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from flowstone_core.app.status import ScheduleStatus
    from flowstone_core.store import StoredSkip

Redact: TypeAlias = Callable[[str], str]
"""Hides secrets and values of the environment."""

COLUMNS = {
    "name": "SCHEDULE",
    "health": "HEALTH",
    "asset": "ASSET",
    "fires": "FIRES",
    "words": "IN WORDS",
    "timezone": "TIME ZONE",
    "next": "NEXT",
    "last_outcome": "LAST",
    "origin": "ORIGIN",
    "error": "ERROR",
}
SKIP_COLUMNS = {
    "id": "ID",
    "schedule": "SCHEDULE",
    "reason": "REASON",
    "skipped": "SKIPPED",
    "first_at": "FIRST",
    "last_at": "LAST",
}


def schedule_fields(schedule: ScheduleStatus, redact: Redact) -> dict[str, object]:
    """Return all fields of a schedule, for JSON."""
    hidden = {
        key: _redacted(getattr(schedule, key), redact)
        for key in ("text", "words", "settings", "error")
    }
    return {**asdict(schedule), **hidden}


def schedule_row(schedule: ScheduleStatus, redact: Redact) -> dict[str, object]:
    """Return the cells of a schedule in a table."""
    fields = schedule_fields(schedule, redact)
    edited = f" (edited: {', '.join(schedule.edited)})" if schedule.edited else ""
    return {
        **fields,
        "fires": f"{schedule.trigger} {fields['text']}",
        "next": local_next(schedule),
        "origin": schedule.origin + edited,
        "error": fields["error"] or schedule.paused_because,
    }


def local_next(schedule: ScheduleStatus) -> str | None:
    """Return the next instant in the time zone of the schedule."""
    if schedule.next_at is None:
        return None
    from flowstone_core.scheduling.time_zone import load_zone

    return str(schedule.next_at.astimezone(load_zone(schedule.timezone)))


def next_in_words(schedule: ScheduleStatus, redact: Redact) -> str:
    """Return the next instant of a schedule in words, or its health if it does not fire."""
    following = local_next(schedule)
    words = f"{redact(schedule.words)} ({schedule.timezone})"
    return f"{words}, next at {following}" if following else f"{words}, {schedule.health.value}"


def skip_fields(stored: StoredSkip) -> dict[str, object]:
    """Return all fields of a skip, for JSON."""
    skip = stored.skip
    return {
        "id": stored.id,
        "schedule": stored.schedule,
        "tick_id": stored.tick_id,
        "reason": skip.reason.value,
        "first_at": skip.first,
        "last_at": skip.last,
        "count": skip.count,
        "complete": skip.complete,
    }


def skip_row(stored: StoredSkip) -> dict[str, object]:
    """Return the cells of a skip in a table."""
    skip = stored.skip
    skipped = skip.count if skip.complete else f"at least {skip.count}"
    return {**skip_fields(stored), "skipped": skipped}


def _redacted(value: object, redact: Redact) -> object:
    match value:
        case str():
            return redact(value)
        case dict():
            return {key: _redacted(item, redact) for key, item in value.items()}
        case list():
            return [_redacted(item, redact) for item in value]
        case _:
            return value
