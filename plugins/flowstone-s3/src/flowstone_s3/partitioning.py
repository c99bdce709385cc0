"""Partitions of objects: taken from the key by date, pattern or function."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import cast

from pydantic import Field, ImportString, field_validator, model_validator

from flowstone_core import Partition, SensorConfig

_DATES = re.compile(
    # Digests and UUIDs often hold eight digits in a row, which would be taken for a date.
    r"(?P<opaque>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,})"
    r"|(?<![A-Za-z0-9_])year=(\d{4})/month=(\d\d?)/day=(\d\d?)(?![^/])"
    r"|(?<!\d)((?:19|20|21)\d\d)(?P<separator>[-/]?)(\d\d)(?P=separator)(\d\d)(?!\d)",
    re.ASCII | re.IGNORECASE,
)
_DATE_GROUPS = ("year", "month", "day", "hour")


def date_in_key(key: str) -> date | None:
    """Return the last valid date in a key; None without one.

    These are dates: ``2025-01-15``, ``20250115``, ``2025/01/15``, and
    ``year=2025/month=1/day=15``, of the years 1900 to 2199, not touching other digits. Digits in
    a UUID or a digest (16 or more hexadecimal digits) do not count.

    Example:
        >>> date_in_key("orders/2025-01-15/part-1.csv")
        datetime.date(2025, 1, 15)
    """
    found = None
    for match in _DATES.finditer(key):
        if match["opaque"] is None:
            found = (
                _valid_date(*match.group(2, 3, 4)) or _valid_date(*match.group(5, 7, 8)) or found
            )
    return found


class KeyPattern:
    """A regular expression whose named groups form the partition of a key.

    ``year``, ``month`` and ``day`` together make a date, with ``hour`` a datetime in UTC. Each
    other named group makes a string. Several parts make a tuple, in the order of the groups, the
    date standing where its first group stands.

    Args:
        pattern: Python's regular expression; it is searched in the key, not matched to its start.

    Raises:
        ValueError: If the regular expression is invalid, names no group, or names only some of
            ``year``, ``month`` and ``day``.

    Example:
        >>> KeyPattern(r"^(?P<region>[^/]+)/(?P<year>....)-(?P<month>..)-(?P<day>..)").partition(
        ...     "eu/2025-01-15.csv"
        ... )
        ('eu', datetime.date(2025, 1, 15))
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"invalid regular expression: {error}") from None
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

    def partition(self, key: str) -> Partition:
        """Return the partition of a key.

        Raises:
            ValueError: If the key does not match, or its date is invalid.
        """
        match = self._pattern.search(key)
        if match is None:
            raise ValueError("partition_pattern does not match it")
        parts: list[Partition] = []
        texts = match.groupdict()
        missing = [name for name, text in texts.items() if text is None]
        if missing:
            raise ValueError(f"the group {missing[0]!r} of partition_pattern matches nothing in it")
        dated = False
        for name in self._groups:
            if name not in _DATE_GROUPS:
                parts.append(texts[name])
            elif not dated:
                parts.append(_instant(texts))
                dated = True
        return parts[0] if len(parts) == 1 else tuple(parts)


class PartitionConfig(SensorConfig):
    """Settings of the partition of an object; by default, the last date in its key."""

    partition_pattern: str | None = Field(
        None,
        description="a regular expression, searched in the key, whose named groups make the "
        "partition: year, month, day (and hour) a date (or datetime), any other a string",
    )
    partition_fn: ImportString[Callable[[str], object]] | None = Field(
        None,
        description="module:name of a function that takes the key and returns the partition, "
        "or None to leave the object out",
    )

    @field_validator("partition_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            KeyPattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _check_partition(self) -> PartitionConfig:
        if self.partition_pattern is not None and self.partition_fn is not None:
            raise ValueError("partition_pattern and partition_fn exclude each other")
        return self


def partition_function(config: PartitionConfig) -> Callable[[str], Partition | None]:
    """Return the function that maps a key to its partition.

    Args:
        config: The settings.

    Returns:
        A function that takes a key and returns its partition, or None to leave the object out.
        It raises ValueError, or any exception of ``partition_fn``, for a key without one.
    """
    if config.partition_fn is not None:
        # Its return value is checked, object by object, when the events are created.
        return cast("Callable[[str], Partition | None]", config.partition_fn)
    if config.partition_pattern is not None:
        return KeyPattern(config.partition_pattern).partition
    return _date_partition


def _date_partition(key: str) -> date:
    found = date_in_key(key)
    if found is None:
        raise ValueError("no date found in the key")
    return found


def _instant(texts: dict[str, str]) -> date | datetime:
    numbers = [texts[name] for name in _DATE_GROUPS if name in texts]
    if len(numbers[0]) == 4 and all(text.isascii() and text.isdigit() for text in numbers):
        try:
            found = date(*map(int, numbers[:3]))
            hour = int(numbers[3]) if len(numbers) > 3 else None
            return found if hour is None else datetime.combine(found, time(hour), UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"invalid date {'-'.join(numbers)!r:.60}, though partition_pattern matches")


def _valid_date(year: str | None, month: str | None, day: str | None) -> date | None:
    if year is None or month is None or day is None:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
