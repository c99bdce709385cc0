"""Plan of a listing: the prefixes of one poll, and the time that the next poll lists from.

The state keeps the time up to which every prefix was listed for the last time. So a sensor that
was paused, or whose polls failed, lists the prefixes of that time too, however many days it was:
the **backlog**, before the prefixes of the lookback. A long backlog is listed over several polls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flowstone_s3.prefixes import PREFIX_LIMIT, Prefixes


@dataclass(frozen=True, slots=True)
class ListingPlan:
    """Prefixes of one poll, each with its first instant, the earliest first.

    Attributes:
        backlog: Those that left the lookback since the last good poll.
        window: Those of the lookback.
        since: The time that the last good poll left to list from.
    """

    backlog: Mapping[str, datetime]
    window: Mapping[str, datetime]
    since: datetime

    @classmethod
    def of(
        cls, prefixes: Prefixes, lookback: timedelta, zone: ZoneInfo, now: datetime, since: datetime
    ) -> ListingPlan:
        """Return the plan of a poll.

        Args:
            prefixes: The template.
            lookback: The age of the earliest prefix that each poll lists.
            zone: The time zone of the template.
            now: The time of the poll, aware.
            since: The time that the last good poll left to list from, aware.
        """
        window = prefixes.between(now - lookback, now, zone)
        start = min(since, now - lookback)
        every = prefixes.between(start, now, zone)
        backlog = {name: at for name, at in every.items() if name not in window}
        # Within one prefix the time stays as it is, and a quiet poll stores nothing.
        same = prefixes.of(since, zone) == next(iter(window))
        return cls(backlog, window, since if same or backlog else now - lookback)


class ListingWalk:
    """Walk through a plan: yields the prefixes to list, and knows where the next poll begins.

    Args:
        plan: The plan.
        may_go_on: Returns False when the poll should end before the next prefix of the backlog.
        unsettled: Returns the number of listed objects that the next poll has to see again.
        alone: True to end after the backlog.

    Attributes:
        partial: Whether the walk ended within or after the backlog.
        since: The time that the next poll lists from.
    """

    def __init__(
        self,
        plan: ListingPlan,
        may_go_on: Callable[[], bool],
        unsettled: Callable[[], int],
        *,
        alone: bool,
    ) -> None:
        self._plan = plan
        self._may_go_on = may_go_on
        self._unsettled = unsettled
        self._alone = alone
        self._held: datetime | None = None
        self.partial = False
        self.since = plan.since

    def __iter__(self) -> Iterator[str]:
        """Yield each prefix; the one before it must have been listed then."""
        plan = self._plan
        room = max(1, PREFIX_LIMIT - len(plan.window))
        for number, (prefix, at) in enumerate(plan.backlog.items()):
            if number and (number >= room or not self._may_go_on()):
                self._end(at)
                return
            yield from self._one(prefix, at)
        first = next(iter(plan.window.values()))
        if plan.backlog and (self._alone or not self._may_go_on()):
            self._end(first)
            return
        for prefix, at in plan.window.items():
            yield from self._one(prefix, at)
        self.since = self._earliest(first if plan.backlog else plan.since)

    def _one(self, prefix: str, at: datetime) -> Iterator[str]:
        before = self._unsettled()
        yield prefix
        if self._held is None and self._unsettled() > before:
            self._held = at

    def _end(self, at: datetime) -> None:
        self.partial = True
        self.since = self._earliest(at)

    def _earliest(self, at: datetime) -> datetime:
        return at if self._held is None else min(at, self._held)
