"""The settings that belong to FlowStone itself: of a run, of every sensor, of a schedule.

They are pydantic models, so wherever they come from (``setup.cfg``, a pipeline, the Python API)
they are read and checked the same way. A default is applied here and nowhere else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from flowstone_core.model.duration import format_duration, parse_duration


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a text such as '30s', or a timedelta")


# pydantic's own text for 366 days is P1Y1D, which is no duration here.
_written = PlainSerializer(format_duration, return_type=str, when_used="json")


Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_read_duration), _written]


"""A timedelta that configuration writes as ``30s``, ``1h30m`` or ISO 8601."""


def _within(shortest: timedelta, longest: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if shortest <= value <= longest:
            return value
        bounds = f"{format_duration(shortest)} to {format_duration(longest)}"
        raise ValueError(f"{format_duration(value)} is out of bounds: use {bounds}")

    return AfterValidator(check)


PositiveDuration: TypeAlias = Annotated[
    Duration, _within(timedelta(milliseconds=1), timedelta(days=366))
]


"""A duration that is longer than nothing, and no longer than a year."""


SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=36_525)


"""What is younger may still be in somebody's hands; a century is as good as for ever."""


Age: TypeAlias = Annotated[Duration, _within(SHORTEST, LONGEST)]


"""How old something has to be before it goes."""
