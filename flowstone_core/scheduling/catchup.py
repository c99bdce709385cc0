"""Catch-up: which instants of a schedule are due, which were missed, which are skipped.

Pure: depends on the schedule's trigger, not on a clock. The work is bounded, however long the
schedule was not evaluated and however far the clock jumped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.settings import Catchup

GRACE = timedelta(minutes=1)
"""The newest instant is on time if it is at most this late."""

CLOCK_TOLERANCE = timedelta(minutes=1)
"""A clock that was set back by at most this is waited for."""

COUNT_LIMIT = 1_000
"""Maximum number of skipped instants that are counted; beyond it the count is a lower bound."""

CHUNK = 1_000
"""Maximum number of instants that one tick fires for; the next tick continues."""


@dataclass(frozen=True, slots=True)
class Due:
    """Due instants of a schedule.

    Attributes:
        instants: The instants to fire for, oldest first.
        caught_up: True if they were missed.
        skips: The instants that are skipped.
        decided_until: Every instant up to here is fired for or skipped.
        next_at: When to evaluate the schedule next; None for never.
    """

    instants: tuple[datetime, ...]
    caught_up: bool
    skips: tuple[Skip, ...]
    decided_until: datetime
    next_at: datetime | None


def due(schedule: Schedule, decided_until: datetime, now: datetime) -> Due:
    """Return the due instants of a schedule.

    An instant is missed if the next one is due as well, or if it is later than `GRACE`. Instants
    older than the schedule's ``catchup_window`` are skipped; ``catchup`` selects from the rest.

    Args:
        schedule: The schedule.
        decided_until: From the schedule's checkpoint.
        now: The current time; if it is before ``decided_until`` the clock was set back.

    Raises:
        OutcomeError: If the trigger violates its contract. Its own exceptions propagate.
    """
    if decided_until > now + CLOCK_TOLERANCE:
        # The clock was ahead when the checkpoint was written. Waiting could take years; instants
        # that fired meanwhile are recognized by their keys, and do not fire twice.
        decided_until = now
    skips: list[Skip] = []
    begin = decided_until
    # An instant that jitter still delays is not missed, however short the window is.
    window = schedule.settings.catchup_window + schedule.settings.jitter
    oldest = now - window - timedelta(microseconds=1)
    if begin < oldest:
        skips += skip_instants(schedule, begin, oldest, SkipReason.WINDOW)
        begin = oldest
    if schedule.settings.catchup is Catchup.ALL:
        instants = _all(schedule, begin, now)
        missed = len(instants) > 1 or _is_late(schedule, instants, now)
    else:
        instants, more = _newest_due(schedule, begin, now)
        missed = _is_late(schedule, instants, now)
        skips += more
        if missed and schedule.settings.catchup is Catchup.NONE:
            skips.append(Skip(SkipReason.CATCHUP, instants[0], instants[0]))
            instants = ()
    decided = max([decided_until, *instants, *(skip.last for skip in skips)])
    following = schedule.next_instant(decided)
    next_at = None if following is None else schedule.due_at(following)
    return Due(instants, missed, _joined(skips), decided, next_at)


def skip_instants(
    schedule: Schedule, after: datetime, until: datetime, reason: SkipReason
) -> tuple[Skip, ...]:
    """Skip the instants after ``after``, up to ``until``, for a reason; return the skips."""
    first = last = schedule.next_instant(after)
    if first is None or last is None or first > until:
        return ()
    for count in range(1, COUNT_LIMIT + 1):
        following = schedule.next_instant(last)
        if following is None or following > until:
            return (Skip(reason, first, last, count),)
        last = following
    return (Skip(reason, first, until, COUNT_LIMIT, complete=False),)


def _is_late(schedule: Schedule, instants: tuple[datetime, ...], now: datetime) -> bool:
    return bool(instants) and now - schedule.due_at(instants[-1]) > GRACE


def _all(schedule: Schedule, begin: datetime, now: datetime) -> tuple[datetime, ...]:
    instants: list[datetime] = []
    instant = begin
    while len(instants) < CHUNK and (found := _due_after(schedule, instant, now)) is not None:
        instants.append(found)
        instant = found
    return tuple(instants)


def _newest_due(
    schedule: Schedule, begin: datetime, now: datetime
) -> tuple[tuple[datetime, ...], tuple[Skip, ...]]:
    """Return the newest due instant, and the instants before it as skipped.

    The search starts at the end, so that its cost does not depend on the number of instants.
    """
    first = _due_after(schedule, begin, now)
    if first is None:
        return (), ()
    # From `low` on something is due, from `high` on nothing.
    low, high, width = first, now, timedelta(seconds=1)
    while low < (probe := now - width):
        found = _due_after(schedule, probe, now)
        if found is not None:
            low = found
            break
        high, width = probe, width * 4
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        found = _due_after(schedule, middle, now)
        if found is None:
            high = middle
        else:
            low = found
    while (found := _due_after(schedule, low, now)) is not None:
        low = found
    before = low - timedelta(microseconds=1)
    return (low,), skip_instants(schedule, begin, before, SkipReason.CATCHUP)


def _due_after(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    instant = schedule.next_instant(after)
    if instant is None or instant > now or schedule.due_at(instant) > now:
        return None
    return instant


def _joined(skips: list[Skip]) -> tuple[Skip, ...]:
    """Join consecutive skips with the same reason."""
    joined: list[Skip] = []
    for skip in skips:
        before = joined[-1] if joined else None
        if before is not None and before.reason is skip.reason and before.complete:
            count = before.count + skip.count
            joined[-1] = Skip(skip.reason, before.first, skip.last, count, skip.complete)
        else:
            joined.append(skip)
    return tuple(joined)
