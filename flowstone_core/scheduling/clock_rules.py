"""Clock rules: the instants of local times, across the changes of clocks.

The rules are Debian cron's (cron(8), "Notes"): a job at a fixed time runs once each day, right
after a gap that its time fell into and in the first pass of a time that comes twice; a job with
``*`` for its hour or minute follows elapsed time. A day that clocks skip as a whole has no
instants. Where Debian stops at gaps of three hours, a day that is there at all has its instant.

All is computed with whole seconds, as `zone_table` counts them; one datetime is made at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from flowstone_core.scheduling.zone_table import (
    DAY,
    Period,
    ZoneTable,
    instant_of,
    seconds_of,
    wall_of,
    year_of,
)

Matches: TypeAlias = Callable[[int], int | None]
"""Returns the first matching local time that is strictly later than a local time, in seconds."""

HORIZON = 50
"""Years to search for a local time that clocks show."""


def next_fixed(matches: Matches, table: ZoneTable, after: datetime) -> datetime | None:
    """Return the next instant of a job at fixed times, each of which has one instant.

    A time in a gap has the first instant after the gap, unless its whole day is in the gap; a time
    that comes twice has the first.

    Args:
        matches: The local times of the job.
        table: The zone of these times.
        after: Aware.

    Returns:
        The first instant strictly later than ``after``, in the zone; None if there is none that
        a datetime can hold. `fixed_local` returns the day that it belongs to.
    """
    try:
        start = seconds_of(after)
        period = table.at(start)
        # In the second pass of an overlap, every time of the overlap has had its instant.
        match = matches(max(start + period.offset, period.repeated - 1))
        if match is not None and match < period.end + period.offset:
            return table.local(match, period)
        while match is not None:
            period = table.showing(match)
            shown = _shown_for(match, period)
            if shown is not None:
                return table.local(shown, period)
            match = matches(_midnight(match) + DAY - 1)
    except OverflowError:
        return None
    return None


def fixed_instant(wall: datetime, table: ZoneTable) -> datetime | None:
    """Return the one instant of a local time by the rule for fixed times, in UTC.

    Args:
        wall: Naive.
        table: The zone of the local time.

    Returns:
        The first pass of a time that comes twice, the first instant after a gap that the time is
        in; None if clocks skip the whole day.

    Raises:
        OverflowError: If a datetime cannot hold the instant.
    """
    match = wall_of(wall)
    period = table.showing(match)
    shown = _shown_for(match, period)
    if shown is None:
        return None
    instant = instant_of(shown - period.offset)
    return instant.replace(microsecond=wall.microsecond) if shown == match else instant


def fixed_local(matches: Matches, table: ZoneTable, instant: datetime) -> datetime:
    """Return an instant of a job at fixed times as a local time of the day that it belongs to.

    Where clocks skip the last times of a day, the instant of such a time is the first of the next
    day. It is returned as a clock shows it that was not changed yet: on 28 March 2026 clocks in
    Nuuk go from 23:00-02:00 to midnight, and the instant of 23:30 is ``2026-03-28T23:00-02:00``,
    not ``2026-03-29T00:00-01:00``, which is the same.

    Args:
        matches: The local times of the job.
        table: The zone of these times.
        instant: As `next_fixed` returns it.
    """
    start = seconds_of(instant)
    period = table.at(start)
    begin, end = start + period.before, start + period.offset
    midnight = _midnight(end)
    if start != period.begin or begin >= midnight or instant.microsecond:
        return instant.astimezone(table.zone)
    # A time of the new day that this is the instant of as well comes first: the day before has
    # had the same one.
    match = matches(midnight - 1)
    if match is None or match > end:
        match = matches(begin - 1)
        if match is not None and match < end and _shown_for(match, period) is not None:
            return table.unchanged(begin)
    return instant.astimezone(table.zone)


def next_elapsed(matches: Matches, table: ZoneTable, after: datetime) -> datetime | None:
    """Return the next instant of a job that follows elapsed time.

    A local time has every instant at which clocks show it: none in a gap, two in an overlap.

    Args:
        matches: The local times of the job.
        table: The zone of these times.
        after: Aware.

    Returns:
        The first instant strictly later than ``after``, in the zone; None if there is none that
        a datetime can hold, or if clocks show none of the times of the next `HORIZON` years.
    """
    try:
        start = seconds_of(after)
        period = table.at(start)
        wall = start + period.offset
        match = matches(wall)
        if match is not None and match < period.end + period.offset:
            return table.local(match, period)
        return _repeated(matches, table, start, period) or _later(matches, table, wall, match)
    except OverflowError:
        return None


def _repeated(matches: Matches, table: ZoneTable, start: int, period: Period) -> datetime | None:
    """Return the first instant in the second pass of a match that ``start`` has passed once."""
    wall = start + period.offset
    if period.end > start + 2 * DAY:
        return None
    period = table.at(period.end)
    match = matches(period.low - 1) if period.low <= wall else None
    return None if match is None or match > wall else table.local(match, period)


def _later(matches: Matches, table: ZoneTable, wall: int, match: int | None) -> datetime | None:
    """Return the first instant at which clocks show a match after ``wall`` for the first time."""
    limit = year_of(wall) + HORIZON
    while match is not None and year_of(match) <= limit:
        period = table.showing(match)
        if match >= period.low:
            return table.local(match, period)
        match = matches(period.low - 1)  # a gap: the next one that can be shown is after it
    return None


def _shown_for(match: int, period: Period) -> int | None:
    """Return the local time that clocks show at the instant of a fixed time.

    Args:
        match: The fixed time.
        period: As `ZoneTable.showing` returns it.

    Returns:
        None if clocks skip the whole day of the time.
    """
    if match >= period.low:
        return match
    begin, midnight = period.begin + period.before, _midnight(match)
    return None if begin <= midnight and midnight + DAY <= period.low else period.low


def _midnight(wall: int) -> int:
    return wall - wall % DAY
