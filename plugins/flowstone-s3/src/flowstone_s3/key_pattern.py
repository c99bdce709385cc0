"""Key pattern: a regular expression whose named groups form the partition of a key."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, tzinfo

from flowstone_core import Partition, ValidationError, partition_from_text
from flowstone_s3.unreadable import UnreadableKeyError

_DATE_GROUPS = ("year", "month", "day", "hour")


class KeyPattern:
    """A regular expression whose named groups form the partition of a key.

    ``year``, ``month`` and ``day`` together make a date, with ``hour`` a datetime: an hour of the
    time zone, and the earlier of two where clocks are set back. Each other named group makes a
    string, or the date that is written like 2025-01-15. Several parts make a tuple, in the order
    of the groups, the date standing where its first group stands.

    Args:
        pattern: Python's regular expression; it is searched in the key, not matched to its start.
        zone: The time zone of the hours.

    Raises:
        ValueError: If the regular expression is invalid, names no group, or names only some of
            ``year``, ``month`` and ``day``.

    Example:
        >>> KeyPattern(r"^(?P<region>[^/]+)/(?P<year>....)-(?P<month>..)-(?P<day>..)").partition(
        ...     "eu/2025-01-15.csv"
        ... )
        ('eu', datetime.date(2025, 1, 15))
    """

    def __init__(self, pattern: str, zone: tzinfo = UTC) -> None:
        try:
            self._pattern = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"invalid regular expression: {error}") from None
        self._zone = zone
        self._groups = tuple(self._pattern.groupindex)
        dates = [name for name in _DATE_GROUPS if name in self._groups]
        if not self._groups:
            raise ValueError(
                "it names no group: write the part of the key that is the partition as "
                "(?P<partition>...), or a date as (?P<year>...) (?P<month>...) (?P<day>...)"
            )
        if dates and dates[:3] != ["year", "month", "day"]:
            raise ValueError(
                f"it names {' and '.join(dates)} only: year, month and day go together, "
                "and hour with them"
            )

    @property
    def has_hour(self) -> bool:
        """Whether its partitions are datetimes."""
        return "hour" in self._groups

    def partition(self, key: str) -> Partition:
        """Return the partition of a key.

        Raises:
            UnreadableKeyError: If the key does not match, or its date is invalid.
        """
        match = self._pattern.search(key)
        if match is None:
            raise UnreadableKeyError("partition_pattern does not match it", absent=True)
        parts: list[Partition] = []
        texts = match.groupdict()
        missing = [name for name, text in texts.items() if text is None]
        if missing:
            raise UnreadableKeyError(
                f"the group {missing[0]!r} of partition_pattern matches nothing in it"
            )
        dated = False
        for name in self._groups:
            if name not in _DATE_GROUPS:
                parts.append(_part(texts[name]))
            elif not dated:
                parts.append(self._date(texts))
                dated = True
        if parts == [""]:
            raise UnreadableKeyError("partition_pattern matches an empty partition in it")
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _date(self, texts: dict[str, str]) -> date | datetime:
        numbers = [texts[name] for name in _DATE_GROUPS if name in texts]
        found, hour = _date_and_hour(numbers)
        if found is None:
            raise UnreadableKeyError(
                "invalid date, though partition_pattern matches", f"{'-'.join(numbers)!r:.60}"
            )
        if hour is None:
            return found
        instant = _instant(found, hour, self._zone)
        if instant is None:
            raise UnreadableKeyError(
                f"the hour does not exist in {self._zone}: set timezone = UTC if the hours in "
                "keys are UTC",
                "-".join(numbers),
            )
        return instant


def _part(text: str) -> Partition:
    try:
        return partition_from_text(text)
    except ValidationError:
        raise UnreadableKeyError(
            "invalid date, though partition_pattern matches", f"{text!r:.60}"
        ) from None


def _date_and_hour(numbers: list[str]) -> tuple[date | None, time | None]:
    if len(numbers[0]) != 4 or not all(text.isascii() and text.isdigit() for text in numbers):
        return None, None
    try:
        return date(*map(int, numbers[:3])), time(int(numbers[3])) if len(numbers) > 3 else None
    except (ValueError, OverflowError):
        return None, None


def _instant(day: date, hour: time, zone: tzinfo) -> datetime | None:
    """Return the instant of a local time in UTC; None if clocks never show the time."""
    try:
        instant = datetime.combine(day, hour, zone).astimezone(UTC)
        return instant if instant.astimezone(zone).time() == hour else None
    except OverflowError:
        return None
