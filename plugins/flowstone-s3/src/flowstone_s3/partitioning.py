"""Partitions of objects: taken from the key by date, pattern or function."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, cast

from pydantic import AfterValidator, Field, ImportString, field_validator, model_validator

from flowstone_core import (
    Partition,
    PollContext,
    RetryLater,
    SensorBroken,
    SensorConfig,
    encode_partition,
)
from flowstone_core.plugin_api import PartitionTemplate, fit_function, load_zone
from flowstone_s3.errors import PartitionError
from flowstone_s3.key_dates import choice_of_date, dates_in_key, refuse_unclear, strongest_date
from flowstone_s3.key_pattern import KeyPattern
from flowstone_s3.unreadable import UnreadableKeyError

_TO_SET = "set partition_pattern, partition_fn, or partition = ${date} for the date of the poll"
_READING = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""Errors of a ``partition_fn`` that cannot read a key; any other may be a passing failure."""


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
        self._choice: tuple[str, str] | None = None
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
            return self._date_of(key) if self._pattern is None else self._pattern.partition(key)
        except UnreadableKeyError as error:
            if self._fallback is None or not error.absent:
                raise
        return self._fallback.partition(now.astimezone(self._zone))

    def log_choice(self, context: PollContext) -> None:
        """Log the first key with several dates since the last call, and the one that counts."""
        if self._choice is not None:
            text = "several dates in key %r: %s counts (partition_pattern decides otherwise)"
            context.logger.info(text, *self._choice)
            self._choice = None

    def _date_of(self, key: str) -> date:
        found = dates_in_key(key)
        if not found:
            raise UnreadableKeyError(f"no date found in the key: {_TO_SET}", absent=True)
        refuse_unclear(key, found)
        day = strongest_date(found)
        if len(found) > 1 and self._choice is None and (choice := choice_of_date(found)):
            self._choice = key, choice
        return day


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
