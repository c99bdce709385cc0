"""Witnessed time: the age of a row, without gaps in which no runner confirms the clock.

A clock that is far ahead looks like a store that was idle for long: between its newest rows and
now is a time of which nobody knows anything. Neither can be told from the other, so such a gap
does not count: what is deleted by its age is at worst kept for longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

IDLE = timedelta(days=7)
"""A gap up to this counts: a weekend, a holiday."""

FAR = timedelta(days=30)
"""Of the gaps longer than `IDLE` the newest does not count, and none that is longer than this.

Those between are counted, or a store that is used once in a fortnight would never age.
"""


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which a runner ran, by its own clock."""

    begin: datetime
    end: datetime


class WitnessedTime:
    """The time in which runners ran, up to now.

    Args:
        periods: When runners ran; those that begin after ``now`` are of another clock.
        now: This moment, by the clock in question.
    """

    def __init__(self, periods: Iterable[Period], now: datetime) -> None:
        self._now = now
        self.gaps = tuple(_gaps(periods, now))

    def ago(self, age: timedelta) -> datetime:
        """Return the instant at which a row is as old as ``age``, gaps not counted."""
        instant, left = self._now, age
        for gap in self.gaps:
            if instant - gap.end >= left:
                break
            left -= instant - gap.end
            instant = gap.begin
        return instant - left

    def shortened(self, age: timedelta) -> tuple[Period, ...]:
        """Return the gaps that are within an age, the newest first."""
        before = self.ago(age)
        return tuple(gap for gap in self.gaps if gap.begin > before)


def _gaps(periods: Iterable[Period], now: datetime) -> Iterable[Period]:
    """Yield the gaps that do not count, the newest first."""
    begun = now
    newest = True
    past = (period for period in periods if period.begin <= now)
    for period in sorted(past, key=lambda period: period.end, reverse=True):
        length = begun - min(period.end, now)
        if length > (IDLE if newest else FAR):
            newest = False
            yield Period(period.end, begun)
        begun = min(begun, period.begin)
