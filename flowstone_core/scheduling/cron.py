"""Cron trigger: computes the instants of a cron expression."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.safe_text import printable
from flowstone_core.scheduling import cron_field
from flowstone_core.scheduling.clock_rules import fixed_local, next_elapsed, next_fixed
from flowstone_core.scheduling.cron_times import CronTimes, cron_times
from flowstone_core.scheduling.cron_words import in_words
from flowstone_core.scheduling.trigger import Trigger, require_aware
from flowstone_core.scheduling.zone_table import zone_table

TEXT_LIMIT = 1_000
"""Maximum number of characters of an expression."""

KEPT = 1_024
"""Maximum number of expressions that are kept for triggers to come."""

_FIELDS = (
    cron_field.SECOND,
    cron_field.MINUTE,
    cron_field.HOUR,
    cron_field.DAY,
    cron_field.MONTH,
    cron_field.WEEKDAY,
)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ALLOWED = (
    "five are allowed (minute, hour, day of month, month, day of week), "
    "or six with the second before them"
)


class CronTrigger(Trigger):
    """Cron trigger: fires at the times of a cron expression, by the rules of Debian's cron.

    Five fields: minute, hour, day of month, month, day of week; or six, the second before them.
    In a field: ``*``, numbers, ranges ``9-17``, steps ``*/15``, ``5/15`` (from 5 on) and
    ``9-17/2``, lists of these, and names of months and weekdays, in small or capital letters.
    The day of month may be ``L``, the last; the day of week ``5L``, the last Friday of the month,
    or ``5#2``, the second; 0 and 7 are Sunday. ``@yearly``, ``@annually``, ``@monthly``,
    ``@weekly``, ``@daily``, ``@midnight`` and ``@hourly`` stand for whole expressions.

    - If both day fields are restricted, a day that either matches is one; a field that starts
      with ``*``, such as ``*/2``, counts as unrestricted, and then both must match (crontab(5) of
      Debian).
    - A job that has neither hour nor minute starting with ``*`` runs once for each of its times:
      right after a gap that the time falls into (never for a day that clocks skip as a whole),
      and in the first pass of a time that comes twice. Any other job follows elapsed time:
      nothing in a gap, and both passes (cron(8) of Debian, "Notes").

    Args:
        text: The expression.
        timezone: An IANA name.

    Raises:
        ValidationError: If the expression is invalid, with a problem for every invalid field; if
            it never fires, such as ``0 0 30 2 *``; or if the time zone is unknown.

    Example:
        >>> from datetime import UTC
        >>> trigger = CronTrigger("30 2 * * *", "Europe/Warsaw")
        >>> trigger.next_fire(datetime(2026, 3, 28, 12, tzinfo=UTC)).isoformat()
        '2026-03-29T03:00:00+02:00'
    """

    def __init__(self, text: str, timezone: str = "UTC") -> None:
        super().__init__(text, timezone)
        self._fixed, times = _read(self.text)
        self._following = times.following
        self._follow = next_fixed if self._fixed else next_elapsed
        self._table = zone_table(self.zone)

    def next_fire(self, after: datetime) -> datetime | None:
        """Return the first instant of the expression that is strictly later than ``after``.

        Args:
            after: Aware.

        Returns:
            In the trigger's zone; None if there is none within 50 years, as for a job that
            follows elapsed time and is only ever meant for an hour that clocks skip.

        Raises:
            ValidationError: If ``after`` is naive.
        """
        require_aware(after)
        return self._follow(self._following, self._table, after)

    def local_time(self, instant: datetime) -> datetime:
        """Return an instant as a local time of the day whose time it is, if clocks skip that."""
        if self._fixed:
            return fixed_local(self._following, self._table, instant)
        return super().local_time(instant)

    def describe(self) -> str:
        """Return the fire times in English, or the expression if words would be wrong."""
        fields = _expand(self.text)
        return in_words(_FIELDS, fields, [each.text for each in _parse(fields)]) or self.text


@lru_cache(maxsize=KEPT)
def _read(text: str) -> tuple[bool, CronTimes]:
    """Return True for a job at fixed times, and the local times of an expression.

    Triggers of the same text share them.

    Raises:
        ValidationError: If the expression is invalid or never fires.
    """
    fields = _parse(_expand(text))
    times = cron_times(fields)
    if not times.exist:
        raise ValidationError(
            f"invalid cron expression {printable(repr(text), 80)}: never fires, "
            "no month of it has such a day"
        )
    _, minute, hour, *_ = fields
    return not (minute.starred or hour.starred), times


def _expand(text: str) -> list[str]:
    """Split an expression into its six fields.

    Raises:
        ValidationError: If the number of fields is invalid.
    """
    shown = printable(repr(text), 80)
    if len(text) > TEXT_LIMIT:
        raise ValidationError(
            f"invalid cron expression {shown}: {len(text):,} characters, at most {TEXT_LIMIT:,}"
        )
    if text.startswith("@"):
        text = text.lower()
        if text not in _ALIASES:
            raise ValidationError(
                Problem(
                    f"invalid cron expression {shown}: unknown name; "
                    f"allowed are {', '.join(_ALIASES)}",
                    hint=_alias_hint(text),
                )
            )
        text = _ALIASES[text]
    fields = re.findall(r"[^ \t\r\n]+", text)
    if len(fields) == len(_FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(_FIELDS):
        hint = "years cannot be written" if len(fields) == len(_FIELDS) + 1 else ""
        message = f"invalid cron expression {shown}: {len(fields)} fields; {_ALLOWED}"
        raise ValidationError(Problem(message, hint=hint))
    return fields


def _alias_hint(text: str) -> str:
    if text.startswith("@every"):
        return "write every = 5m instead of a cron expression"
    if text == "@reboot":
        return "a schedule fires at times, not when something starts"
    return did_you_mean(text, _ALIASES)


def _parse(fields: list[str]) -> tuple[cron_field.ParsedField, ...]:
    parsed: list[cron_field.ParsedField] = []
    problems: list[Problem] = []
    for field, text in zip(_FIELDS, fields, strict=True):
        try:
            parsed.append(field.parse(text))
        except ValidationError as error:
            problems.extend(error.problems)
    if problems:
        raise ValidationError(problems)
    return tuple(parsed)
