"""Preview of upcoming instants, for people and programs; needs no configuration and no store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from flowstone_core.cli.listing import partition_fields, print_json, print_table

if TYPE_CHECKING:
    from flowstone_core.scheduling.trigger import Trigger
    from flowstone_core.scheduling.upcoming import UpcomingFire

T = TypeVar("T")

COLUMNS = {
    "local": "AT",
    "timezone": "TIME ZONE",
    "utc": "UTC",
    "partition_shown": "PARTITION",
    "shift": "CLOCKS",
}


def print_fires(fires: Sequence[UpcomingFire], *, as_json: bool) -> None:
    """Print the instants of a schedule."""
    rows = [
        {
            "at": fire.at.isoformat(),
            "local": str(fire.at),
            "utc": fire.at.astimezone(UTC),
            "timezone": str(fire.at.tzinfo),
            **partition_fields(fire.partition),
            "shift": fire.shift,
        }
        for fire in fires
    ]
    if as_json:
        print_json([{key: row[key] for key in row if key != "local"} for row in rows])
    else:
        print_table(rows, COLUMNS, empty="no more instants")


def print_instants(
    cron: str | None,
    every: str | None,
    timezone: str,
    after: str | None,
    count: int,
    *,
    as_json: bool,
) -> None:
    """Print the instants of an expression.

    Raises:
        ValidationError: If the expression, the time zone or the moment is invalid; lists every
            problem.
    """
    from flowstone_core.scheduling.upcoming import instants

    trigger, moment = _read(cron, every, timezone, after)
    found = instants(trigger, moment, count)
    if as_json:
        print_json([instant.isoformat() for instant in found])
        return
    click.echo(f"{trigger.describe()} ({trigger.timezone})")
    for instant in found:
        click.echo(str(instant))


def _read(
    cron: str | None, every: str | None, timezone: str, after: str | None
) -> tuple[Trigger, datetime]:
    from flowstone_core.errors import Problem, ValidationError
    from flowstone_core.model.clock import SystemClock
    from flowstone_core.scheduling.cron import CronTrigger
    from flowstone_core.scheduling.every import EveryTrigger
    from flowstone_core.scheduling.time_zone import load_zone

    problems: list[Problem] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ValidationError as error:
            problems.extend(error.problems)
        return None

    # With an unknown time zone the other values are checked too.
    known = timezone if attempt(lambda: load_zone(timezone)) else "UTC"
    trigger: Trigger | None
    if cron is not None:
        trigger = attempt(lambda: CronTrigger(cron, known))
    else:
        trigger = attempt(lambda: EveryTrigger(every or "", known))
    moment = SystemClock().now() if after is None else attempt(lambda: read_moment(after, known))
    if problems or trigger is None or moment is None:
        raise ValidationError(problems)
    return trigger, moment


def read_moment(text: str, timezone: str) -> datetime:
    """Parse a moment from a command line; without an offset it is in the time zone.

    Raises:
        ValidationError: If the moment is invalid.
    """
    from flowstone_core.errors import ValidationError
    from flowstone_core.model.safe_text import printable
    from flowstone_core.scheduling.time_zone import load_zone

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        shown = printable(text, 80)
        raise ValidationError(
            f"invalid moment {shown!r}: use ISO 8601, such as 2026-03-08T01:30 or "
            "2026-03-08T01:30:00-05:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=load_zone(timezone))
