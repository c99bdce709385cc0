"""What computes points in time: `Trigger`, the contract of ``cron``, ``every`` and plugins."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flowstone_core.errors import OutcomeError, ValidationError
from flowstone_core.scheduling.time_zone import load_zone


class Trigger(ABC):
    """Computes the instants at which a schedule fires.

    A plugin derives from it and provides the class by the hook ``flowstone_triggers``, under the
    name that configuration writes as the setting: ``cron = 0 2 * * *`` makes
    ``CronTrigger("0 2 * * *", timezone)``. A trigger is immutable, reads no clock, and may be
    asked from any thread.

    Args:
        text: What configuration says.
        timezone: An IANA name.

    Attributes:
        text: What configuration says, without the blanks around it.
        zone: The time zone that the text is meant in.

    Raises:
        ValidationError: If the time zone is none; a subclass raises it for a text that is wrong.
    """

    def __init__(self, text: str, timezone: str = "UTC") -> None:
        if not isinstance(text, str):
            kind = type(text).__qualname__
            raise ValidationError(f"{text!r:.80} is of type {kind}; a trigger must be text")
        self.text = text.strip()
        self.zone: ZoneInfo = load_zone(timezone)

    @property
    def timezone(self) -> str:
        """The name of the time zone."""
        return self.zone.key

    @abstractmethod
    def next_fire(self, after: datetime) -> datetime | None:
        """Return the first instant that is strictly later than ``after``.

        Called from the threads of a runner and of commands, once for each instant, and many times
        in a row when instants were missed: it should take microseconds. It must depend on nothing
        but its argument.

        Args:
            after: Aware.

        Returns:
            An aware datetime, or None if there is no later one.

        Raises:
            ValidationError: If ``after`` is naive.
        """

    def describe(self) -> str:
        """Say in plain words when it fires; the text itself unless a subclass knows better."""
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {self.timezone!r})"


def next_fire(trigger: Trigger, after: datetime) -> datetime | None:
    """Ask a trigger, whoever wrote it, and hold it to its contract.

    Returns:
        The next instant, in UTC, or None.

    Raises:
        OutcomeError: If what it returns is no aware datetime, or is not later than ``after``.
            Whatever the trigger itself raises passes through.
    """
    found = trigger.next_fire(after)
    if found is None:
        return None
    who = f"the trigger {type(trigger).__qualname__} for {trigger.text!r:.80}"
    if not isinstance(found, datetime):
        if inspect.iscoroutine(found):
            found.close()
        kind = type(found).__qualname__
        raise OutcomeError(f"{who} returned a value of type {kind}; it must return a datetime")
    if found.utcoffset() is None:
        raise OutcomeError(f"{who} returned the naive {found}; it must return an aware datetime")
    instant = found.astimezone(UTC)
    if instant <= after:
        raise OutcomeError(f"{who} returned {instant}, which is not later than {after}")
    return instant


def require_aware(after: datetime) -> None:
    """Refuse a naive datetime.

    Raises:
        ValidationError: If it is one.
    """
    if after.utcoffset() is None:
        raise ValidationError(
            f"naive datetime {after}: must be aware, such as datetime(2026, 1, 31, tzinfo=UTC)"
        )
