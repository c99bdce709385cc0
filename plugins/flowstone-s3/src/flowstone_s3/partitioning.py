"""Partitions of objects: taken from the key by date, pattern or function."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated, cast

from pydantic import AfterValidator, Field, ImportString, field_validator, model_validator

from flowstone_core import (
    Partition,
    RetryLater,
    SensorBroken,
    SensorConfig,
    ValidationError,
    encode_partition,
    partition_from_text,
)
from flowstone_core.plugin_api import PartitionTemplate, fit_function, load_zone
from flowstone_s3.errors import PartitionError
from flowstone_s3.key_dates import choice_of_date, date_in_key
from flowstone_s3.unreadable import UnreadableKeyError

_DATE_GROUPS = ("year", "month", "day", "hour")
_TO_SET = "set partition_pattern, partition_fn, or partition = ${date} for the date of the poll"
_READING = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""Errors of a ``partition_fn`` that cannot read a key; any other may be a passing failure."""


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


def _check_zone(name: str) -> str:
    load_zone(name)
    return name


def _check_function(function: Callable[[str], object]) -> Callable[[str], object]:
    fit_function(function, "the key")
    return function


class PartitionConfig(SensorConfig):
    """Settings of the partition of an object; by default, the date in its key."""

    partition_pattern: str | None = Field(
        None,
        description="a regular expression, searched in the key, whose named groups make the "
        "partition: year, month, day (and hour, in timezone) a date (or datetime), any other a "
        "string",
    )
    partition_fn: (
        Annotated[ImportString[Callable[[str], object]], AfterValidator(_check_function)] | None
    ) = Field(
        None,
        description="module:name of a function that takes the key and returns the partition, "
        "or None to leave the object out",
    )
    partition: str | None = Field(
        None,
        description="the partition of a key without a date, or that partition_pattern does not "
        "match: a template of the time of the poll, such as ${date}; such keys are unreadable if "
        "not set",
    )
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        "UTC",
        description="the IANA time zone of dates and hours in keys: of a prefix with ${year}, of "
        "hour in partition_pattern, and of partition",
    )

    @field_validator("partition_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            KeyPattern(pattern)
        return pattern

    @field_validator("partition")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is not None:
            PartitionTemplate(template)
        return template

    @model_validator(mode="after")
    def _check_partition(self) -> PartitionConfig:
        wrong = [
            f"{name} and partition_fn exclude each other"
            for name in ("partition_pattern", "partition")
            if getattr(self, name) is not None and self.partition_fn is not None
        ]
        if "timezone" in self.model_fields_set and not self.has_local_times():
            wrong.append("timezone requires " + ", or ".join(self.local_times()))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def has_local_times(self) -> bool:
        """Return True if the settings name times of ``timezone``."""
        pattern = self.partition_pattern
        hours = pattern is not None and KeyPattern(pattern).has_hour
        return hours or self.partition is not None

    def local_times(self) -> list[str]:
        """Return the settings that ``timezone`` is for, in words."""
        return ["hour in partition_pattern", "partition"]


class KeyPartitions:
    """Partitions of keys, by the settings of a sensor.

    Args:
        config: The settings.
    """

    def __init__(self, config: PartitionConfig) -> None:
        self._zone = load_zone(config.timezone)
        function, pattern = config.partition_fn, config.partition_pattern
        self._function = None if function is None else fit_function(function, "the key")
        self._pattern = None if pattern is None else KeyPattern(pattern, self._zone)
        self._fallback = None if config.partition is None else PartitionTemplate(config.partition)

    def partition(self, key: str, now: datetime) -> Partition | None:
        """Return the partition of a key, or None to leave the object out.

        Args:
            key: The key.
            now: The time of the poll, aware.

        Raises:
            UnreadableKeyError: If the key has no partition.
            PartitionError: If ``partition_fn`` fails for another reason than the key.
            RetryLater: If ``partition_fn`` raises it.
            SensorBroken: If ``partition_fn`` raises it.
        """
        if self._function is not None:
            return _called(self._function, key)
        try:
            return _date_of(key) if self._pattern is None else self._pattern.partition(key)
        except UnreadableKeyError as error:
            if self._fallback is None or not error.absent:
                raise
        return self._fallback.partition(now.astimezone(self._zone))

    def choice(self, key: str) -> str:
        """Return which of several dates in a key counts, in words; empty without a choice."""
        chosen = self._function is None and self._pattern is None
        return choice_of_date(key) if chosen else ""


def _date_of(key: str) -> date:
    found = date_in_key(key)
    if found is None:
        raise UnreadableKeyError(f"no date found in the key: {_TO_SET}", absent=True)
    return found


def _called(function: Callable[[str], object], key: str) -> Partition | None:
    try:
        found = cast("Partition | None", function(key))
    except (RetryLater, SensorBroken):
        raise
    except _READING as error:
        # The text of another error may hold anything, and the reason is stored.
        detail = str(error) if type(error) is ValueError else ""
        shown = "".join(each if each.isprintable() else " " for each in detail[:200])
        raise UnreadableKeyError(f"partition_fn raised {type(error).__name__}", shown) from error
    except Exception as error:
        raise PartitionError(
            f"partition_fn failed: {type(error).__name__} for {key!r:.300} (no object is "
            "recorded; a key that the function cannot read must raise ValueError)"
        ) from error
    if found is not None:
        try:
            encode_partition(found)
        except ValueError as error:
            raise UnreadableKeyError(
                "partition_fn returned an invalid partition", f"{error!s:.200}"
            ) from None
    return found


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
