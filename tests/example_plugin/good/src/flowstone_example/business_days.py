"""A trigger: a time of every business day."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from flowstone_core import Trigger, ValidationError

HOLIDAYS = {(1, 1), (5, 1), (12, 25), (12, 26)}
"""Months and days on which nobody works."""


class BusinessDays(Trigger):
    """Fires at a time of every Monday to Friday that is no holiday: ``business_days = 08:00``.

    A time that clocks skip is made up for as much later as they skip; one that they show twice
    counts in the first pass.
    """

    def __init__(self, text: str, timezone: str = "UTC") -> None:
        super().__init__(text, timezone)
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", self.text):
            raise ValidationError(f"{text!r:.80} is no time of a day; write it as 08:00")
        self.time = time.fromisoformat(self.text)

    def next_fire(self, after: datetime) -> datetime | None:
        """See `Trigger.next_fire`."""
        # In UTC: two aware datetimes of one zone are compared by their clocks on the wall.
        after = after.astimezone(UTC)
        day = after.astimezone(self.zone).date()
        while day < date.max:
            instant = datetime.combine(day, self.time, self.zone).astimezone(UTC)
            if instant > after and is_business_day(day):
                return instant
            day += timedelta(days=1)
        return None

    def describe(self) -> str:
        """See `Trigger.describe`."""
        return f"At {self.text} on business days"


def is_business_day(day: date) -> bool:
    """Say whether people work on a day."""
    return day.weekday() < 5 and (day.month, day.day) not in HOLIDAYS
