"""Which instants of a schedule are due, which were missed, and which of those are wanted.

Pure: the schedule's trigger is asked, and no clock. However long the schedule was not looked at,
and however far the clock jumped, the work is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.settings import Catchup

GRACE = timedelta(minutes=1)
"""An instant that is the newest, and no later than this, is on time."""

CLOCK_TOLERANCE = timedelta(minutes=1)
"""A clock that went back by no more is waited for."""

COUNT_LIMIT = 1_000
"""Skipped instants are counted up to here: beyond it they are "at least" so many."""

CHUNK = 1_000
"""Instants that one tick fires for; the next tick goes on."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at a schedule finds.

    Attributes:
        instants: Those to fire for, the oldest first.
        caught_up: Whether they were missed.
        skips: Those not to fire for.
        decided_until: What is due up to here is decided on by all this.
        next_at: When to look again; None for never.
    """

    instants: tuple[datetime, ...]
    caught_up: bool
    skips: tuple[Skip, ...]
    decided_until: datetime
    next_at: datetime | None


def due(schedule: Schedule, decided_until: datetime, now: datetime) -> Due:
    """Find what is due of a schedule.

    An instant is missed if the next one is due as well, or if it is later than `GRACE`. What is
    older than the schedule's ``catchup_window`` is skipped; of the rest, ``catchup`` says which
    are wanted.

    Args:
        decided_until: What the schedule's memory says.
        now: The moment; where it lies before ``decided_until`` the clock was set back.

    Raises:
        OutcomeError: If the trigger breaks its contract. What it raises passes through.
    """
    if decided_until > now + CLOCK_TOLERANCE:
        # The clock was ahead when that was written. Waiting for it could take years; and what
        # was fired for while it was ahead is known by its keys, and is not fired for twice.
        decided_until = now
    skips: list[Skip] = []
    begin = decided_until
    # What its jitter still holds back is not missed, however short the window is.
    window = schedule.settings.catchup_window + schedule.settings.jitter
    oldest = now - window - timedelta(microseconds=1)
    if begin < oldest:
        skips += skipped(schedule, begin, oldest, SkipReason.WINDOW)
        begin = oldest
    if schedule.settings.catchup is Catchup.ALL:
        instants = _all(schedule, begin, now)
        missed = len(instants) > 1 or _is_late(schedule, instants, now)
    else:
        instants, more = _newest(schedule, begin, now)
        missed = _is_late(schedule, instants, now)
        skips += more
        if missed and schedule.settings.catchup is Catchup.NONE:
            skips.append(Skip(SkipReason.CATCHUP, instants[0], instants[0]))
            instants = ()
    decided = max([decided_until, *instants, *(skip.last for skip in skips)])
    following = schedule.next_instant(decided)
    next_at = None if following is None else schedule.due_at(following)
    return Due(instants, missed, _joined(skips), decided, next_at)


def skipped(
    schedule: Schedule, after: datetime, until: datetime, reason: SkipReason
) -> tuple[Skip, ...]:
    """Say which instants after one moment, and up to another, are skipped for a reason."""
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


def _newest(
    schedule: Schedule, begin: datetime, now: datetime
) -> tuple[tuple[datetime, ...], tuple[Skip, ...]]:
    """Return the newest instant that is due, and those before it as skipped.

    It is looked for from its end, so that it costs the same however many there are.
    """
    first = _due_after(schedule, begin, now)
    if first is None:
        return (), ()
    # Of what begins at `low` something is due, of what begins at `high` nothing.
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
    return (low,), skipped(schedule, begin, before, SkipReason.CATCHUP)


def _due_after(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    instant = schedule.next_instant(after)
    if instant is None or instant > now or schedule.due_at(instant) > now:
        return None
    return instant


def _joined(skips: list[Skip]) -> tuple[Skip, ...]:
    """Join what is skipped for one reason and follows one another."""
    joined: list[Skip] = []
    for skip in skips:
        before = joined[-1] if joined else None
        if before is not None and before.reason is skip.reason and before.complete:
            count = before.count + skip.count
            joined[-1] = Skip(skip.reason, before.first, skip.last, count, skip.complete)
        else:
            joined.append(skip)
    return tuple(joined)
