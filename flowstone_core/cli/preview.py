"""The instants to come, for people and programs; needs neither a configuration nor a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import partition_fields, print_json, print_table

if TYPE_CHECKING:
    from flowstone_core.preview import Fire
    from flowstone_core.trigger import Trigger

COLUMNS = {
    "local": "AT",
    "timezone": "TIME ZONE",
    "utc": "UTC",
    "partition_shown": "PARTITION",
    "shift": "CLOCKS",
}


def print_fires(fires: Sequence[Fire], *, as_json: bool) -> None:
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
        print_table(rows, COLUMNS, empty="it does not fire any more")


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
        ValidationError: If the expression, the time zone or the moment is wrong.
    """
    from flowstone_core.clock import SystemClock
    from flowstone_core.preview import instants
    from flowstone_core.triggers.cron import CronTrigger
    from flowstone_core.triggers.every import EveryTrigger

    trigger: Trigger
    if cron is not None:
        trigger = CronTrigger(cron, timezone)
    else:
        trigger = EveryTrigger(every or "", timezone)
    moment = SystemClock().now() if after is None else read_moment(after, timezone)
    found = instants(trigger, moment, count)
    if as_json:
        print_json([instant.isoformat() for instant in found])
        return
    click.echo(f"{trigger.describe()} ({trigger.timezone})")
    for instant in found:
        click.echo(str(instant))


def read_moment(text: str, timezone: str) -> datetime:
    """Read a moment from a command line; without an offset it is in the time zone.

    Raises:
        ValidationError: If it is none.
    """
    from flowstone_core.errors import ValidationError, printable
    from flowstone_core.zone import load_zone

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        shown = printable(text, 80)
        raise ValidationError(
            f"{shown!r} is no moment: use ISO 8601, such as 2026-03-08T01:30 or "
            "2026-03-08T01:30:00-05:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=load_zone(timezone))
