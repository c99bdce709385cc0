"""Time zones: IANA names, and the effect of clock changes on local times.

The rules are Debian cron's (cron(8), "Notes"): a job at a fixed time runs once each day, right
after a gap that its time fell into and in the first pass of a time that comes twice; a job with
``*`` for its hour or minute follows elapsed time. A day that clocks skip as a whole has no
instants. Where Debian stops at gaps of three hours, a day that is there at all has its instant.

Local times are naive here, and comparisons are made in UTC: Python compares two aware datetimes of
one zone by their local times, and ignores the pass of an overlap.
"""

from __future__ import annotations

import logging
import re
import zoneinfo
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

from flowstone_core.errors import ValidationError, did_you_mean
from flowstone_core.model.safe_text import printable

logger = logging.getLogger("flowstone.zone")

Matches: TypeAlias = Callable[[datetime], datetime | None]
"""Returns the first matching local time that is strictly later than a local time."""

HORIZON = 50
"""Years to search for a local time that clocks show."""

# Nearer to the ends of what a datetime holds, the local time of some zone is out of it.
_EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_VERSION = re.compile(r"(?:# version )?(\d{4}\w*)\s*$")


@lru_cache
def zone_names() -> frozenset[str]:
    """Return all IANA names, as the package tzdata lists them."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(listed.split()) - {"Factory"}


def load_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Args:
        name: An IANA name, such as ``Europe/Warsaw``; case matters.

    Raises:
        ValidationError: If the name is unknown. Paths and other files of the zone database
            (``posixrules``, ``../UTC``, ``Europe``) are unknown names.
    """
    if not isinstance(name, str) or name not in zone_names():
        hint = did_you_mean(name, zone_names()) if isinstance(name, str) else ""
        shown = printable(repr(name), 80)
        hint = hint or "use an IANA name such as Europe/Warsaw"
        raise ValidationError(f"unknown time zone {shown}: {hint}")
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValidationError(
            f"cannot read the data of time zone {name}: {printable(str(error), 200)}"
        ) from None
    if name != "UTC":
        _log_data()
    return zone


def zone_data() -> str:
    """Return source and version of the time zone data that this process reads.

    The system's data come first, the package tzdata is the fallback. A loaded zone stays as it is
    until the process ends, even if the data are updated.

    Returns:
        Such as ``2025b in /usr/share/zoneinfo``, or ``2025.2 of the package tzdata``.
    """
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "UTC").is_file():
            return f"{_version_in(folder)} in {folder}"
    return f"{metadata.version('tzdata')} of the package tzdata"


def _version_in(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                found = _VERSION.match(file.readline(100))
        except OSError:
            continue
        if found is not None:
            return found[1]
    return "an unknown version"


@lru_cache
def _log_data() -> None:
    """Log the data's version once per process: governments change zones at short notice."""
    logger.info("time zones", extra={"data": zone_data()})


def to_utc(after: datetime) -> datetime:
    """Return an aware datetime in UTC, at least the earliest that every zone can show.

    Raises:
        OverflowError: If the moment in UTC is later than a datetime can hold.
    """
    return max(after, _EARLIEST).astimezone(UTC)


def next_fixed(matches: Matches, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the next instant of a job at fixed times, each of which has one instant.

    A time in a gap has the first instant after the gap, unless its whole day is in the gap; a time
    that comes twice has the first.

    Args:
        matches: The local times of the job.
        zone: The zone of these times.
        after: Aware.

    Returns:
        The first instant strictly later than ``after``, in ``zone``; None if there is none that
        a datetime can hold. `fixed_local` returns the day that it belongs to.
    """
    try:
        start = to_utc(after)
        local = start.astimezone(zone)
        wall = _naive(local)
        if local.fold:  # every time of the overlap has had its instant
            first, second = _offsets(wall, zone)
            change = _change(start - (first - second), start, zone)
            wall = _naive(change + first) - timedelta.resolution
        while (match := matches(wall)) is not None:
            instant = fixed_instant(match, zone)
            if instant is not None:
                return instant.astimezone(zone)
            wall = _midnight(match) + _DAY - timedelta.resolution
    except OverflowError:
        pass
    return None


def fixed_instant(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the one instant of a local time by the rule for fixed times, in UTC.

    Returns:
        The first pass of a time that comes twice, the first instant after a gap that the time is
        in; None if clocks skip the whole day.
    """
    first, second = _offsets(wall, zone)
    if first >= second:
        return _instant(wall, first)
    change = _change(_instant(wall, second), _instant(wall, first), zone)
    begin, end, midnight = _naive(change + first), _naive(change + second), _midnight(wall)
    return None if begin <= midnight and midnight + _DAY <= end else change


def fixed_local(matches: Matches, zone: ZoneInfo, instant: datetime) -> datetime:
    """Return an instant of a job at fixed times as a local time of the day that it belongs to.

    Where clocks skip the last times of a day, the instant of such a time is the first of the next
    day. It is returned as a clock shows it that was not changed yet: on 28 March 2026 clocks in
    Nuuk go from 23:00-02:00 to midnight, and the instant of 23:30 is ``2026-03-28T23:00-02:00``,
    not ``2026-03-29T00:00-01:00``, which is the same.

    Args:
        matches: The local times of the job.
        zone: The zone of these times.
        instant: As `next_fixed` returns it.
    """
    instant = to_utc(instant)
    local = instant.astimezone(zone)
    before = (instant - timedelta.resolution).astimezone(zone) + timedelta.resolution
    end, begin = _naive(local), _naive(before)
    midnight = _midnight(end)
    if begin >= midnight:
        return local
    # A time of the new day that this is the instant of as well comes first: the day before has
    # had the same one.
    match = matches(midnight - timedelta.resolution)
    if match is not None and match <= end:
        return local
    match = matches(begin - timedelta.resolution)
    skipped = match is not None and match < end and fixed_instant(match, zone) is not None
    return before.replace(fold=0) if skipped else local


def next_elapsed(matches: Matches, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the next instant of a job that follows elapsed time.

    A local time has every instant at which clocks show it: none in a gap, two in an overlap.

    Args:
        matches: The local times of the job.
        zone: The zone of these times.
        after: Aware.

    Returns:
        The first instant strictly later than ``after``, in ``zone``; None if there is none that
        a datetime can hold, or if clocks show none of the times of the next `HORIZON` years.
    """
    try:
        start = to_utc(after)
        found = (_next_shown(matches, zone, start), _next_repeated(matches, zone, start))
        first = min((instant for instant in found if instant is not None), default=None)
        return first and first.astimezone(zone)
    except OverflowError:
        return None


def _next_shown(matches: Matches, zone: ZoneInfo, start: datetime) -> datetime | None:
    """Return the first instant after ``start`` at which clocks show a match later than theirs."""
    wall = _naive(start.astimezone(zone))
    limit = wall.year + HORIZON
    match = matches(wall)
    while match is not None and match.year <= limit:
        first, second = _offsets(match, zone)
        if first < second:  # a gap: the next one that can be shown is after it
            change = _change(_instant(match, second), _instant(match, first), zone)
            match = matches(_naive(change + second) - timedelta.resolution)
            continue
        instant = _instant(match, first)
        return instant if instant > start else _instant(match, second)
    return None


def _next_repeated(matches: Matches, zone: ZoneInfo, start: datetime) -> datetime | None:
    """Return the first instant in the second pass of a match that ``start`` has passed once."""
    local = start.astimezone(zone)
    wall = _naive(local)
    first, second = _offsets(wall, zone)
    if local.fold or first <= second:
        return None
    size = first - second
    begin = _naive(_change(start, start + size, zone) + second)
    match = matches(max(wall - size, begin - timedelta.resolution))
    return None if match is None or match > wall else _instant(match, second)


def _offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the offsets from UTC before and after a change; in a gap, the first is smaller."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert first is not None  # noqa: S101 - a ZoneInfo has one for every datetime
    assert second is not None  # noqa: S101
    return first, second


def _change(start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, later than ``start`` and no later than ``end``, that changes the offset.

    Offsets change at whole seconds only.
    """
    start = start.replace(microsecond=0)
    before = start.astimezone(zone).utcoffset()

    def changed(seconds: int) -> bool:
        return (start + seconds * _SECOND).astimezone(zone).utcoffset() != before

    last = (end - start) // _SECOND
    return start + bisect_left(range(last), True, key=changed) * _SECOND  # noqa: FBT003


def _instant(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0, microsecond=0)


def _naive(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)
