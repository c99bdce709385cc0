"""``flowstone schedules``."""

from __future__ import annotations

from dataclasses import asdict

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import (
    json_option,
    listing_options,
    print_facts,
    print_json,
    print_listing,
    print_table,
)
from flowstone_core.cli.preview import print_fires, print_instants, read_moment
from flowstone_core.cli.schedule_options import given_settings, setting_options
from flowstone_core.cli.schedule_rows import (
    COLUMNS,
    SKIP_COLUMNS,
    local_next,
    next_in_words,
    schedule_fields,
    schedule_row,
    skip_fields,
    skip_row,
)
from flowstone_core.cli.session import FAILED, Session, pass_session

TICK_COLUMNS = {
    "id": "TICK",
    "started_at": "AT",
    "outcome": "OUTCOME",
    "events": "EVENTS",
    "duplicates": "DUPLICATES",
    "skipped": "SKIPPED",
    "error": "ERROR",
}
HEALTHS = ["undeclared", "disabled", "paused", "broken", "failing", "ended", "ok"]
SILENT = {"undeclared", "disabled", "paused"}
"""How schedules do that fire nothing, whatever their instants are."""


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
    flow = session.flow()
    fields = schedule_fields if as_json else schedule_row
    rows = [
        fields(schedule, flow.project.redactor)
        for schedule in flow.list_schedules()
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
    from flowstone_core.config.settings_reference import schedule_settings

    flow = session.flow()
    redact = flow.project.redactor
    schedule = flow.schedules.get(name)
    ticks = [asdict(tick) for tick in flow.ticks(source=f"schedule:{name}", limit=10)]
    skips = flow.schedules.skips(name, limit=10)
    fields = schedule_fields(schedule, redact)
    if as_json:
        print_json({**fields, "ticks": ticks, "skips": [skip_fields(skip) for skip in skips]})
        return
    facts = {key.replace("_", " "): value for key, value in fields.items() if key != "settings"}
    edited = ", ".join(schedule.edited) or None
    print_facts({**facts, "edited": edited, "next at": local_next(schedule)})
    click.echo("\nsettings:")
    settings = schedule_settings(schedule.settings, redact, defaults=True)
    print_facts({f"  {key}": value for key, value in settings.items()})
    click.echo()
    print_table(ticks, TICK_COLUMNS, empty="no tick yet that was not quiet")
    if skips:
        click.echo()
        print_table(map(skip_row, skips), SKIP_COLUMNS, empty="")


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
    then the times were changed). What one look passes over for one reason is one row.

    With --json a list of objects: id, schedule, tick_id, reason, first_at, last_at, count,
    complete (false: count is the least number, and last_at the moment up to which there are more).
    """
    flow = session.flow()
    skips = flow.schedules.skips(name, limit=limit, before_id=before_id)
    if name is not None and not skips:
        flow.schedules.get(name)  # one that was removed still has its history
    fields = skip_fields if as_json else skip_row
    print_listing(map(fields, skips), SKIP_COLUMNS, as_json=as_json, empty="nothing was skipped")


@schedules.command()
@click.argument("asset")
@click.option("--name", help="Its own name; the asset's by default.")
@setting_options
@pass_session
def add(session: Session, /, *, asset: str, name: str | None, **options: object) -> None:
    """Add a schedule for ASSET; it stays in the store, and a runner notices within two seconds."""
    flow = session.flow()
    given = given_settings(options, flow.project.triggers)
    schedule = flow.schedule(asset, name=name, **given)
    fires = next_in_words(schedule, flow.project.redactor)
    click.echo(f"schedule {schedule.name} is added: {fires}")


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
    also when that changes, until --revert takes it back. An empty text takes --partition, --start,
    --end or --metadata away.
    """
    flow = session.flow()
    given = given_settings(options, flow.project.triggers)
    if asset is not None:
        given["asset"] = asset
    if revert == bool(given):
        raise click.UsageError("give settings to change, or --revert, and not both")
    schedule = flow.schedules.revert(name) if revert else flow.schedules.update(name, **given)
    fires = next_in_words(schedule, flow.project.redactor)
    click.echo(f"schedule {name} is {'as declared' if revert else 'changed'}: {fires}")


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
    session.flow().schedules.pause(name)
    click.echo(f"schedule {name} is paused")


@schedules.command()
@click.argument("name")
@pass_session
def resume(session: Session, *, name: str) -> None:
    """Have a paused schedule fire again; what came while it was paused is skipped."""
    flow = session.flow()
    flow.schedules.resume(name)
    fires = next_in_words(flow.schedules.get(name), flow.project.redactor)
    click.echo(f"schedule {name} is resumed: {fires}")


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
    _print_fires(session, name, after, count, as_json=as_json)


def _print_fires(
    session: Session, name: str, after: str | None, count: int, *, as_json: bool
) -> None:
    from flowstone_core.errors import FlowstoneError
    from flowstone_core.model.safe_text import describe

    flow = session.flow()
    schedule = flow.schedules.get(name)
    moment = None if after is None else read_moment(after, schedule.timezone)
    try:
        fires = flow.schedules.upcoming(name, count, moment)
    except FlowstoneError:
        raise
    except Exception as error:  # noqa: BLE001 - a trigger or a partition_fn may raise anything
        session.fail(f"schedule {name!r}: its trigger or its partition_fn raised {describe(error)}")
        raise Exit(FAILED) from None
    if schedule.health.value in SILENT:
        session.warn(f"schedule {name} is {schedule.health.value}: it fires for none of these")
    print_fires(fires, as_json=as_json)
