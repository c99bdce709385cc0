"""Prefixes of a listing: a fixed one, or one per hour, day, month or year since a lookback."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

PREFIX_LIMIT = 400
"""Most prefixes of one poll: each needs at least one request."""

_TOKENS: Mapping[str, Callable[[datetime], str]] = {
    "year": lambda at: f"{at.year:04}",
    "month": lambda at: f"{at.month:02}",
    "day": lambda at: f"{at.day:02}",
    "hour": lambda at: f"{at.hour:02}",
}


class Prefixes:
    """A prefix, or a template of prefixes such as ``events/${year}/${month}/${day}/``.

    Without ``${`` it is the prefix as it is; with it, ``$$`` is a ``$``.

    Args:
        text: The prefix, or the template.

    Raises:
        ValueError: If the text has an unknown token, a stray ``$``, or a token without the coarser
            ones: a day needs its month and year, or the same prefix would recur.

    Example:
        >>> from datetime import datetime, timedelta
        >>> Prefixes("in/${year}-${month}/").at(
        ...     datetime(2025, 1, 1, 7, tzinfo=UTC), timedelta(days=2), ZoneInfo("UTC")
        ... )
        ['in/2024-12/', 'in/2025-01/']
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._template = string.Template(text)
        self.dated = "${" in text
        self._tokens = self._template.get_identifiers() if self.dated else []
        if self.dated:
            self._check()

    def at(self, now: datetime, lookback: timedelta, zone: ZoneInfo) -> list[str]:
        """Return the prefixes to list, those of the earliest time first, each once.

        Args:
            now: The time, aware.
            lookback: The age of the earliest prefix.
            zone: The time zone of the years, months, days and hours.

        Raises:
            ValueError: If there are more than `PREFIX_LIMIT`.
        """
        found: list[str] = []
        for prefix, _ in self._steps(now - lookback, now, zone):
            found.append(prefix)
            if len(found) > PREFIX_LIMIT:
                raise ValueError(
                    f"lookback covers more than {PREFIX_LIMIT} prefixes, each a request at every "
                    "poll; shorten lookback, or remove the last token from prefix"
                )
        return found

    def between(self, start: datetime, end: datetime, zone: ZoneInfo) -> dict[str, datetime]:
        """Return the prefixes of a time, those of its start first, each with its first instant."""
        return dict(self._steps(start, end, zone))

    def of(self, at: datetime, zone: ZoneInfo) -> str:
        """Return the prefix of an instant."""
        return self._of(at.astimezone(zone)) if self.dated else self._text

    def _steps(
        self, start: datetime, end: datetime, zone: ZoneInfo
    ) -> Iterator[tuple[str, datetime]]:
        # Half of the shortest hour, and of the shortest day, that any zone has at a change of
        # its clocks: no step leaves one out.
        step = timedelta(minutes=15) if "hour" in self._tokens else timedelta(hours=6)
        seen: set[str] = set()
        instant, end = start.astimezone(UTC), end.astimezone(UTC)
        while True:
            instant = min(instant, end)
            prefix = self.of(instant, zone)
            if prefix not in seen:
                seen.add(prefix)
                yield prefix, instant
            if instant == end:
                return
            instant += step

    def _of(self, at: datetime) -> str:
        return self._template.substitute({name: _TOKENS[name](at) for name in self._tokens})

    def _check(self) -> None:
        allowed = ", ".join(f"${{{name}}}" for name in _TOKENS)
        if not self._template.is_valid():
            raise ValueError(f"invalid '$' in prefix; use {allowed}, or '$$' for a '$'")
        for name in self._tokens:
            if name not in _TOKENS:
                raise ValueError(f"unknown token ${{{name:.40}}}; use {allowed}")
        missing: list[str] = []
        for name in _TOKENS:
            if name not in self._tokens:
                missing.append(f"${{{name}}}")
            elif missing:
                raise ValueError(
                    f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed "
                    f"beside ${{{name}}}: the same prefix would recur, and its objects would fire "
                    "again"
                )
