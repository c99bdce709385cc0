"""Trigger: the base class of ``cron``, ``every`` and the triggers of plugins."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flowstone_core.errors import OutcomeError, ValidationError
from flowstone_core.scheduling.time_zone import load_zone


class Trigger(ABC):
    """Trigger: computes the instants at which a schedule fires.

    A plugin derives from this class and provides its own with the hook ``flowstone_triggers``,
    under the name of a setting: ``cron = 0 2 * * *`` calls
    ``CronTrigger("0 2 * * *", timezone)``. A trigger is immutable, reads no clock, and may be
    called from any thread.

    Args:
        text: The text in the configuration.
        timezone: An IANA name.

    Attributes:
        text: The text in the configuration, stripped.
        zone: The time zone of the text.

    Raises:
        ValidationError: If the time zone is unknown; a subclass raises it for an invalid text.
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
        in a row when instants were missed, so the method should take microseconds. The result must
        depend on the argument only.

        Args:
            after: Aware.

        Returns:
            An aware datetime, or None if there is no later one.

        Raises:
            ValidationError: If ``after`` is naive.
        """

    def local_time(self, instant: datetime) -> datetime:
        """Return an instant of this trigger as a local time of the day that it belongs to.

        The partition of a schedule is named by this time. By default it is what clocks of the zone
        show; a trigger that makes up for a time that clocks skip may name the day of that time.

        Args:
            instant: As `next_fire` returned it.

        Returns:
            The same instant, in the trigger's zone.
        """
        return instant.astimezone(self.zone)

    def describe(self) -> str:
        """Return the fire times in words; by default the text."""
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {self.timezone!r})"


def next_fire(trigger: Trigger, after: datetime) -> datetime | None:
    """Return a trigger's next instant, after a check of the trigger's contract.

    Returns:
        The next instant, in UTC, or None.

    Raises:
        OutcomeError: If the trigger returns anything but an aware datetime later than ``after``.
            Exceptions of the trigger propagate.
    """
    found = trigger.next_fire(after)
    if found is None:
        return None
    if not isinstance(found, datetime):
        if inspect.iscoroutine(found):
            found.close()
        kind = type(found).__qualname__
        raise _violation(trigger, f"a value of type {kind}; it must return a datetime")
    if found.utcoffset() is None:
        raise _violation(trigger, f"the naive {found}; it must return an aware datetime")
    instant = found.astimezone(UTC)
    if instant <= after:
        raise _violation(trigger, f"{instant}, which is not later than {after}")
    return instant


def local_time(trigger: Trigger, instant: datetime) -> datetime:
    """Return the local time that names the partition of an instant, after a check of the contract.

    Raises:
        OutcomeError: If the trigger returns another instant, or anything but an aware datetime.
            Exceptions of the trigger propagate.
    """
    local = trigger.local_time(instant)
    same = isinstance(local, datetime) and local.utcoffset() is not None
    if not same or local.astimezone(UTC) != instant:
        raise _violation(
            trigger,
            f"{local!r:.80} as the local time of {instant}; local_time must return the same "
            "instant, as an aware datetime",
        )
    return local


def _violation(trigger: Trigger, returned: str) -> OutcomeError:
    name = type(trigger).__qualname__
    return OutcomeError(f"the trigger {name} for {trigger.text!r:.80} returned {returned}")


def require_aware(after: datetime) -> None:
    """Raise if a datetime is naive.

    Raises:
        ValidationError: If the datetime has no offset from UTC.
    """
    if after.utcoffset() is None:
        raise ValidationError(
            f"naive datetime {after}: must be aware, such as datetime(2026, 1, 31, tzinfo=UTC)"
        )
