"""Setting types: durations and their limits, and texts with a syntax, as pydantic types.

Settings from ``setup.cfg``, a pipeline and the Python API are parsed and checked the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from flowstone_core.model.duration import format_duration, parse_duration
from flowstone_core.model.entry_point_guard import guard_entry_points, guard_pydantic

# Every module with settings imports this one before it defines a model.
guard_entry_points()
guard_pydantic()


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Marker of a setting in whose value quotes and ``#`` have a meaning, such as an expression.

    ``flowstone check`` does not warn of quotes, and of what looks like a comment, in a field of the
    type ``Annotated[str, Verbatim()]``.
    """


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a text such as '30s', or a timedelta")


# pydantic's own text for 366 days is P1Y1D, which is not a duration here.
_written = PlainSerializer(format_duration, return_type=str, when_used="json")


Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_read_duration), _written]


"""A timedelta, written ``30s``, ``1h30m`` or in ISO 8601 in the configuration."""


def duration_within(shortest: timedelta, longest: timedelta) -> AfterValidator:
    """Return the validator of a duration from the shortest to the longest."""

    def check(value: timedelta) -> timedelta:
        if shortest <= value <= longest:
            return value
        bounds = f"{format_duration(shortest)} to {format_duration(longest)}"
        raise ValueError(f"{format_duration(value)} is out of bounds: use {bounds}")

    return AfterValidator(check)


PositiveDuration: TypeAlias = Annotated[
    Duration, duration_within(timedelta(milliseconds=1), timedelta(days=366))
]


"""A duration longer than zero, at most a year."""


SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=36_525)


"""Bounds of an age: younger rows may still be in use; 100 years stands for "never"."""


Age: TypeAlias = Annotated[Duration, duration_within(SHORTEST, LONGEST)]


"""Minimum age of rows that are deleted."""
