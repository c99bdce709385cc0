"""``flowstone schedules``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from flowstone_core.cli.listing import (
    json_option,
    listing_options,
    print_facts,
    print_json,
    print_listing,
    print_table,
)
from flowstone_core.cli.preview import print_fires, print_instants, read_moment
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.status import ScheduleStatus
    from flowstone_core.store import StoredSkip

F = TypeVar("F", bound=Callable[..., object])

COLUMNS = {
    "name": "SCHEDULE",
    "health": "HEALTH",
    "asset": "ASSET",
    "fires": "FIRES",
    "words": "IN WORDS",
    "timezone": "TIME ZONE",
    "next": "NEXT",
    "last_outcome": "LAST",
    "origin": "ORIGIN",
    "error": "ERROR",
}
TICK_COLUMNS = {
    "id": "TICK",
    "started_at": "AT",
    "outcome": "OUTCOME",
    "events": "EVENTS",
    "duplicates": "DUPLICATES",
    "skipped": "SKIPPED",
    "error": "ERROR",
}
SKIP_COLUMNS = {
    "id": "ID",
    "schedule": "SCHEDULE",
    "reason": "REASON",
    "skipped": "SKIPPED",
    "first_at": "FIRST",
    "last_at": "LAST",
}
HEALTHS = ["undeclared", "disabled", "paused", "broken", "failing", "ended", "ok"]


def setting_options(function: F) -> F:
    """Add an option for each setting of a schedule to a command."""
    catchup = click.Choice(["none", "latest", "all"])
    overlap = click.Choice(["skip", "buffer_one", "buffer_all", "allow"])
    options = [
        click.option("--cron", metavar="EXPR", help="When it fires, as in crontab(5)."),
        click.option("--every", metavar="TEXT", help="Or: '10 minutes', 'day at 10:30', '30s'."),
        click.option(
            "--trigger",
            nargs=2,
            metavar="NAME TEXT",
            help="Or: a trigger that a plugin provides, and what it is made of.",
        ),
        click.option("--timezone", metavar="TZ", help="An IANA name; UTC by default."),
        click.option(
            "--partition",
            metavar="TEMPLATE",
            help="Such as '${year}-${month}'; the instant's date by default.",
        ),
        click.option("--catchup", type=catchup, help="Which missed instants are caught up."),
        click.option("--catchup-window", metavar="DURATION", help="How long ago at most."),
        click.option("--overlap", type=overlap, help="What to do while the last one runs."),
        click.option("--jitter", metavar="DURATION", help="Fire at most so long after."),
        click.option("--start", metavar="ISO", help="Do not fire before."),
        click.option("--end", metavar="ISO", help="Do not fire after."),
        click.option(
            "--pause-on-failure/--no-pause-on-failure",
            default=None,
            help="Pause it when a materialization is discarded.",
        ),
        click.option("--enabled/--disabled", default=None, help="Whether it fires at all."),
        click.option(
            "--metadata",
            multiple=True,
            metavar="KEY=VALUE",
            help="Your own notes on it; may be given several times.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group()
def schedules() -> None:
    """What fires at points in time."""


@schedules.command("list")
@click.option("--health", type=click.Choice(HEALTHS), help="Only those that do so.")
@click.option("--asset", help="Only those for this asset.")
@json_option
@pass_session
def list_schedules(
    session: Session, *, health: str | None, asset: str | None, as_json: bool
) -> None:
    """List schedules: those declared, those added, and those that only the store still knows.

    ORIGIN is the file and line of the declaration, or 'command'; settings that were changed at
    run time, and lie over the declaration, are named behind it.

    With --json a list of objects: name, health, asset, trigger, text, words, timezone, origin,
    edited, settings, next_at, paused_because, error, failures, last_tick_at, last_outcome, owner.
    """
    rows = [
        asdict(schedule) if as_json else row(schedule)
        for schedule in session.flow().list_schedules()
        if health in {None, schedule.health.value} and asset in {None, schedule.asset}
    ]
    print_listing(rows, COLUMNS, as_json=as_json, empty="no schedules")


@schedules.command()
@click.argument("name")
@json_option
@pass_session
def show(session: Session, *, name: str, as_json: bool) -> None:
    """Show one schedule: how it does, its settings, its last ticks, and what it skipped.

    With --json an object: as 'schedules list' has it, and ticks (id, source, outcome, started_at,
    finished_at, events, duplicates, error, skipped) and skips (as 'schedules skipped' has them).
    """
    flow = session.flow()
    schedule = flow.get_schedule(name)
    ticks = [asdict(tick) for tick in flow.ticks(source=f"schedule:{name}", limit=10)]
    skips = flow.skips(schedule=name, limit=10)
    if as_json:
        print_json({**asdict(schedule), "ticks": ticks, "skips": [_skip(each) for each in skips]})
        return
    facts = {key.replace("_", " "): value for key, value in asdict(schedule).items()}
    settings = facts.pop("settings")
    print_facts({**facts, "edited": ", ".join(schedule.edited) or None})
    click.echo("\nsettings:")
    print_facts({f"  {key}": value for key, value in dict(settings).items()})
    click.echo()
    print_table(ticks, TICK_COLUMNS, empty="no tick yet that was not quiet")
    if skips:
        click.echo()
        print_table([_skip(each) for each in skips], SKIP_COLUMNS, empty="")


@schedules.command()
@click.argument("name", required=False)
@listing_options
@pass_session
def skipped(
    session: Session, *, name: str | None, limit: int, before_id: int | None, as_json: bool
) -> None:
    """List the instants that schedules fired nothing for, each with the reason.

    The reasons: catchup (missed, and not wanted by 'catchup'), window (missed longer ago than
    'catchup_window'), overlap (the last one had not ended), paused, disabled, edited (missed, and
    then the times were changed). Instants that follow one another are one row.

    With --json a list of objects: id, schedule, tick_id, reason, first_at, last_at, count,
    complete (false: count is the least number, and last_at the moment up to which there are more).
    """
    flow = session.flow()
    if name is not None:
        flow.get_schedule(name)
    rows = [_skip(each) for each in flow.skips(schedule=name, limit=limit, before_id=before_id)]
    print_listing(rows, SKIP_COLUMNS, as_json=as_json, empty="nothing was skipped")


@schedules.command()
@click.argument("asset")
@click.option("--name", help="Its own name; the asset's by default.")
@setting_options
@pass_session
def add(session: Session, /, *, asset: str, name: str | None, **options: object) -> None:
    """Add a schedule for ASSET; it stays in the store, and a runner notices within two seconds."""
    schedule = session.flow().schedule(asset, name=name, **_given(options))
    click.echo(f"schedule {schedule.name} is added: {_when(schedule)}")


@schedules.command()
@click.argument("name")
@click.option("--asset", help="The asset that it is for.")
@click.option("--revert", is_flag=True, help="Take back what was changed of its declaration.")
@setting_options
@pass_session
def update(
    session: Session, /, *, name: str, asset: str | None, revert: bool, **options: object
) -> None:
    """Change settings of a schedule; those not given stay. Nothing of the past is replayed.

    What is changed of a schedule that a file or a pipeline declares lies over the declaration,
    also when that changes, until --revert takes it back. An empty text takes --partition, --start
    or --end away.
    """
    flow = session.flow()
    given = _given(options)
    if asset is not None:
        given["asset"] = asset
    if revert == bool(given):
        raise click.UsageError("give settings to change, or --revert, and not both")
    schedule = flow.revert_schedule(name) if revert else flow.update_schedule(name, **given)
    click.echo(f"schedule {name} is {'as declared' if revert else 'changed'}: {_when(schedule)}")


@schedules.command()
@click.argument("name")
@pass_session
def remove(session: Session, *, name: str) -> None:
    """Remove a schedule that was added by command, or that is declared nowhere any more."""
    session.flow().unschedule(name)
    click.echo(f"schedule {name} is removed")


@schedules.command()
@click.argument("name")
@pass_session
def pause(session: Session, *, name: str) -> None:
    """Have a schedule fire no more until it is resumed; a runner notices within two seconds."""
    session.flow().pause_schedule(name)
    click.echo(f"schedule {name} is paused")


@schedules.command()
@click.argument("name")
@pass_session
def resume(session: Session, *, name: str) -> None:
    """Have a paused schedule fire again; what came while it was paused is skipped."""
    flow = session.flow()
    flow.resume_schedule(name)
    click.echo(f"schedule {name} is resumed: {_when(flow.get_schedule(name))}")


@schedules.command("next")
@click.argument("name", required=False)
@click.option("--cron", metavar="EXPR", help="An expression instead of NAME; needs no config.")
@click.option("--every", metavar="TEXT", help="An interval instead of NAME; needs no config.")
@click.option("--timezone", metavar="TZ", help="For --cron and --every; UTC by default.")
@click.option("--after", metavar="ISO", help="Those later than this moment; now by default.")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=10, show_default=True, help="So many."
)
@json_option
@pass_session
def next_fires(
    session: Session,
    *,
    name: str | None,
    cron: str | None,
    every: str | None,
    timezone: str | None,
    after: str | None,
    count: int,
    as_json: bool,
) -> None:
    """Show when a schedule, or an expression, fires next.

    --after without an offset is meant in the schedule's time zone.

    With --json, for NAME a list of objects: at (with offset), utc, timezone, partition,
    partition_shown, shift (what clocks did since the one before, or null); for --cron and
    --every a list of the instants alone, with offset.
    """
    if [name, cron, every].count(None) != 2:
        raise click.UsageError("give a NAME, or --cron, or --every")
    if name is None:
        print_instants(cron, every, timezone or "UTC", after, count, as_json=as_json)
        return
    if timezone is not None:
        raise click.UsageError("--timezone goes with --cron or --every; a schedule has its own")
    flow = session.flow()
    moment = None if after is None else read_moment(after, flow.get_schedule(name).timezone)
    print_fires(flow.next_fires(name, count, moment), as_json=as_json)


def _given(options: dict[str, object]) -> dict[str, object]:
    """Return the settings that a command line names, as the API takes them."""
    given = {key: value for key, value in options.items() if value is not None}
    trigger = given.pop("trigger", None)
    if isinstance(trigger, tuple):
        kind, text = trigger
        given[kind] = text
    metadata = given.pop("metadata", ())
    if isinstance(metadata, tuple) and metadata:
        given["metadata"] = "\n".join(metadata)
    for key in ("partition", "start", "end"):
        if given.get(key) == "":
            given[key] = None
    return given


def row(schedule: ScheduleStatus) -> dict[str, object]:
    """Return what people are shown of a schedule in a table."""
    edited = f" (edited: {', '.join(schedule.edited)})" if schedule.edited else ""
    return {
        **asdict(schedule),
        "fires": f"{schedule.trigger} {schedule.text}",
        "next": _next(schedule),
        "origin": schedule.origin + edited,
        "error": schedule.error or schedule.paused_because,
    }


def _next(schedule: ScheduleStatus) -> str | None:
    if schedule.next_at is None:
        return None
    from flowstone_core.zone import load_zone

    return str(schedule.next_at.astimezone(load_zone(schedule.timezone)))


def _when(schedule: ScheduleStatus) -> str:
    following = _next(schedule)
    state = f"{schedule.words} ({schedule.timezone})"
    return f"{state}, next at {following}" if following else f"{state}, {schedule.health.value}"


def _skip(stored: StoredSkip) -> dict[str, object]:
    skip = stored.skip
    return {
        "id": stored.id,
        "schedule": stored.schedule,
        "tick_id": stored.tick_id,
        "reason": skip.reason.value,
        "first_at": skip.first,
        "last_at": skip.last,
        "count": skip.count,
        "complete": skip.complete,
        "skipped": skip.count if skip.complete else f"at least {skip.count}",
    }
