"""``flowstone schedules``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

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
from flowstone_core.cli.not_loaded import print_not_loaded
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
from flowstone_core.cli.source_commands import TICK_COLUMNS, add_pause_and_resume

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone

HEALTHS = ["undeclared", "disabled", "paused", "broken", "failing", "ended", "ok"]
SILENT = {"undeclared", "disabled", "paused"}
"""Healths of schedules that do not fire."""


@click.group()
def schedules() -> None:
    """Inspect and control schedules."""


@schedules.command("list")
@click.option("--health", type=click.Choice(HEALTHS), help="Show only schedules with this health.")
@click.option("--asset", help="Show only schedules of this asset.")
@json_option
@pass_session
def list_schedules(
    session: Session, *, health: str | None, asset: str | None, as_json: bool
) -> None:
    """List schedules: declared ones, added ones, and undeclared ones that the store remembers.

    ORIGIN is the file and line of the declaration, or 'command', followed by the settings that
    were changed at run time.

    With --json a list of objects: name, health, asset, trigger, text, words, timezone, origin,
    edited, settings, next_at, paused_because, error, failures, last_tick_at, last_outcome, owner,
    not_loaded (changes on disk that no runner has loaded).
    """
    flow = session.listing()
    fields = schedule_fields if as_json else schedule_row
    rows = [
        fields(schedule, flow.project.redactor)
        for schedule in flow.list_schedules()
        if health in {None, schedule.health.value} and asset in {None, schedule.asset}
    ]
    print_listing(rows, COLUMNS, as_json=as_json, empty="no schedules")
    if not as_json:
        print_not_loaded(rows)


@schedules.command()
@click.argument("name")
@json_option
@pass_session
def show(session: Session, *, name: str, as_json: bool) -> None:
    """Show one schedule: its health, settings, last ticks and last skips.

    With --json an object: the fields of 'schedules list', and ticks (id, source, outcome,
    started_at, finished_at, events, duplicates, error, skipped, skipped_items: empty) and skips
    (with the fields of 'schedules skipped').
    """
    from flowstone_core.config.settings_reference import schedule_settings

    flow = session.listing()
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
    print_table(ticks, TICK_COLUMNS, empty="no ticks recorded yet")
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
    """List the instants that schedules skipped, each with the reason.

    Reasons: catchup (missed, and dropped by the setting 'catchup'), window (missed before
    'catchup_window'), overlap (the previous materialization had not ended), paused, disabled,
    edited (missed, and then the times were changed). Instants that one tick skips for one reason
    are one row.

    With --json a list of objects: id, schedule, tick_id, reason, first_at, last_at, count,
    complete (false: count is a lower bound, and more instants follow up to last_at).
    """
    flow = session.listing()
    skips = flow.schedules.skips(name, limit=limit, before_id=before_id)
    if name is not None and not skips:
        flow.schedules.get(name)  # a removed schedule keeps its history
    fields = skip_fields if as_json else skip_row
    print_listing(map(fields, skips), SKIP_COLUMNS, as_json=as_json, empty="no skipped instants")


@schedules.command()
@click.argument("asset")
@click.option("--name", help="Name of the schedule; the name of the asset by default.")
@setting_options
@pass_session
def add(session: Session, /, *, asset: str, name: str | None, **options: object) -> None:
    """Add a schedule for ASSET to the store; a runner starts it within two seconds."""
    flow = session.flow()
    given = given_settings(options, flow.project.triggers)
    session.changing(lambda flow: flow.schedule(asset, name=name, **given))
    schedule = flow.schedule(asset, name=name, **given)
    fires = next_in_words(schedule, flow.project.redactor)
    click.echo(f"schedule {schedule.name} is added: {fires}")


@schedules.command()
@click.argument("name")
@click.option("--asset", help="Request partitions of this asset.")
@click.option("--revert", is_flag=True, help="Discard all run-time changes to a declared schedule.")
@setting_options
@pass_session
def update(
    session: Session, /, *, name: str, asset: str | None, revert: bool, **options: object
) -> None:
    """Change settings of a schedule and keep the others. Past instants are not fired again.

    A change to a declared schedule overrides the declaration, even after the file changes, until
    --revert discards it. An empty text removes --partition, --start, --end or --metadata.
    """
    flow = session.flow()
    given = given_settings(options, flow.project.triggers)
    if asset is not None:
        given["asset"] = asset
    if revert == bool(given):
        raise click.UsageError("give either settings to change or --revert")
    session.changing(lambda flow: flow.schedules.get(name))
    schedule = flow.schedules.revert(name) if revert else flow.schedules.update(name, **given)
    fires = next_in_words(schedule, flow.project.redactor)
    click.echo(f"schedule {name} is {'as declared' if revert else 'changed'}: {fires}")


@schedules.command()
@click.argument("name")
@pass_session
def remove(session: Session, *, name: str) -> None:
    """Remove a schedule that was added at run time or is no longer declared."""
    flow = session.changing(lambda flow: flow.unschedule(name))
    flow.unschedule(name)
    click.echo(f"schedule {name} is removed")


def _resumed(flow: Flowstone, name: str) -> str:
    return f": {next_in_words(flow.schedules.get(name), flow.project.redactor)}"


add_pause_and_resume(
    schedules, "schedule", "; the instants that passed meanwhile are skipped", _resumed
)


@schedules.command("next")
@click.argument("name", required=False)
@click.option("--cron", metavar="EXPR", help="Cron expression; no configuration needed.")
@click.option("--every", metavar="TEXT", help="Interval; no configuration needed.")
@click.option("--timezone", metavar="TZ", help="Time zone of --cron or --every; UTC by default.")
@click.option("--after", metavar="ISO", help="Start after this moment; now by default.")
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=10,
    show_default=True,
    help="Number of instants.",
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
    """Show the next instants of a schedule or an expression.

    --after without an offset is read in the time zone of the schedule.

    With --json, for NAME a list of objects: at (with offset), utc, timezone, partition,
    partition_shown, shift (clock change since the instant before, or null); for --cron and
    --every a list of the instants alone, with offset.
    """
    if [name, cron, every].count(None) != 2:
        raise click.UsageError("give exactly one of NAME, --cron and --every")
    if name is None:
        print_instants(cron, every, timezone or "UTC", after, count, as_json=as_json)
        return
    if timezone is not None:
        raise click.UsageError("--timezone needs --cron or --every; a schedule has its own")
    _print_fires(session, name, after, count, as_json=as_json)


def _print_fires(
    session: Session, name: str, after: str | None, count: int, *, as_json: bool
) -> None:
    from flowstone_core.errors import FlowstoneError
    from flowstone_core.model.safe_text import describe

    flow = session.listing()
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
        session.warn(
            f"schedule {name} is {schedule.health.value}: it does not fire at these instants"
        )
    print_fires(fires, as_json=as_json)
