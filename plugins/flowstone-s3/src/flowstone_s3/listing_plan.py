"""Plan of a listing: the prefixes of one poll, and the time that the next poll lists from.

The state keeps the time up to which every prefix was listed for the last time. So a sensor that
was paused, or whose polls failed, lists the prefixes of that time too, however many days it was:
the **backlog**, before the **window**, the prefixes of the lookback. A backlog that takes long is
listed over several polls, and the window between them, so that new objects need not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
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


Part: TypeAlias = Literal["all", "backlog", "window"]
"""Part of a plan: the backlog, the window, or both."""

Leaves: TypeAlias = Literal["missing", "listed", "nothing"]
"""Objects that are not listed again: those that a listing misses, those that it has, or none."""

_NEXT: Mapping[Part, Part] = {"all": "all", "backlog": "window", "window": "backlog"}


class ListingWalk:
    """Walk through a plan: yields the prefixes to list, and knows where the next poll begins.

    Args:
        plan: The plan.
        part: The part to list; if it is not ``all``, the next poll lists the other.
        may_go_on: Returns False when the poll should end before the next prefix of the backlog.
        unsettled: Returns the number of listed objects that the next poll has to see again.

    Attributes:
        listed: The part that was listed, of the backlog perhaps only the earliest prefixes.
        since: The time that the next poll lists from.
    """

    def __init__(
        self,
        plan: ListingPlan,
        part: Part,
        may_go_on: Callable[[], bool],
        unsettled: Callable[[], int],
    ) -> None:
        self._plan = plan
        self._part = part
        self._may_go_on = may_go_on
        self._unsettled = unsettled
        self._held: datetime | None = None
        self.listed: Part = "all"
        self.since = plan.since

    def next_part(self) -> Part:
        """Return the part that the next poll should list."""
        return _NEXT[self.listed]

    @property
    def leaves(self) -> Leaves:
        """The objects that are not listed again: those that are missing, or those of a backlog."""
        if self.listed == "all":
            return "missing"
        return "listed" if self.listed == "backlog" and self._held is None else "nothing"

    def __iter__(self) -> Iterator[str]:
        """Yield each prefix; the one before it must have been listed then."""
        plan = self._plan
        first = next(iter(plan.window.values()))
        if plan.backlog and self._part == "window":
            self.listed = "window"
            yield from plan.window
            return
        room = max(1, PREFIX_LIMIT - len(plan.window))
        for number, (prefix, at) in enumerate(plan.backlog.items()):
            if number and (number >= room or not self._may_go_on()):
                self._end(at)
                return
            yield from self._one(prefix, at)
        if plan.backlog and (self._part == "backlog" or not self._may_go_on()):
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
        self.listed = "backlog"
        self.since = self._earliest(at)

    def _earliest(self, at: datetime) -> datetime:
        return at if self._held is None else min(at, self._held)
