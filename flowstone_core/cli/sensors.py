"""``flowstone sensors``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import (
    Row,
    json_option,
    partition_fields,
    print_facts,
    print_json,
    print_listing,
    print_table,
)
from flowstone_core.cli.not_loaded import print_not_loaded
from flowstone_core.cli.sensor_names import add_rename_and_remove
from flowstone_core.cli.session import FAILED, Session, pass_session
from flowstone_core.cli.source_commands import TICK_COLUMNS, add_pause_and_resume

if TYPE_CHECKING:
    from flowstone_core.app.dry_run import DryRun
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.model.sensor_decision import Decision
    from flowstone_core.model.tick import TickCommit

COLUMNS = {
    "name": "SENSOR",
    "health": "HEALTH",
    "type": "TYPE",
    "asset": "ASSET",
    "every": "EVERY",
    "last_tick_at": "LAST TICK",
    "last_outcome": "OUTCOME",
    "failures": "FAILURES",
    "last_error": "ERROR",
}
SKIPPED_COLUMNS = {"at": "AT", "count": "SKIPPED", "reason": "REASON", "example": "EXAMPLE"}
EVENT_COLUMNS = {
    "asset": "ASSET",
    "partition_shown": "PARTITION",
    "key": "KEY",
    "payload": "PAYLOAD",
}
HEALTHS = ["disabled", "paused", "broken", "quarantined", "stale", "failing", "new",
           "undeclared", "blocked", "ok"]  # fmt: skip
STATE_LIMIT = 500
"""Most characters of a state in output for people."""


@click.group()
def sensors() -> None:
    """Inspect and control sensors."""


@sensors.command("list")
@click.option("--health", type=click.Choice(HEALTHS), help="Show only sensors with this health.")
@click.option("--asset", help="Show only sensors of this asset.")
@json_option
@pass_session
def list_sensors(session: Session, *, health: str | None, asset: str | None, as_json: bool) -> None:
    """List sensors: the declared ones, and undeclared ones that the store remembers.

    The last tick is the last recorded one: polls that find nothing are not recorded.

    With --json a list of objects: name, health, type, asset, every, where, failures, not_before,
    last_tick_at, last_outcome, last_error, owner, stale_since (the end of the last good poll, if
    the sensor is stale), quiet_reason (why its polls find nothing, if the sensor gives it),
    quiet_since, not_loaded (changes on disk that the runner has not loaded).
    """
    rows = [
        asdict(sensor)
        for sensor in session.listing().sensors.all()
        if health in {None, sensor.health.value} and asset in {None, sensor.asset}
    ]
    print_listing(rows, COLUMNS, as_json=as_json, empty="no sensors")
    if not as_json:
        print_not_loaded(rows)


@sensors.command()
@click.argument("name")
@json_option
@pass_session
def show(session: Session, *, name: str, as_json: bool) -> None:
    """Show one sensor: its health, settings, state, last ticks, and what it skipped for good.

    With --json an object: the fields of 'sensors list', and settings (name to text), state,
    ticks (id, source, outcome, started_at, finished_at, events, duplicates, error, skipped,
    skipped_items: reason, count, example), and skipping (the last ticks that skipped items).
    """
    from flowstone_core.config.settings_reference import given_settings

    flow = session.listing()
    status = flow.sensors.get(name)
    declaration = flow.project.sensors.get(name)
    settings = (
        given_settings(declaration, flow.project.redactor, defaults=True) if declaration else {}
    )
    state = flow.sensors.state(name)
    source = f"sensor:{name}"
    ticks = [asdict(tick) for tick in flow.ticks(source=source, limit=10)]
    skipping = flow.sensors.skipping(name)
    if as_json:
        extra = {"settings": settings, "state": _parsed(state), "ticks": ticks}
        extra["skipping"] = [asdict(tick) for tick in skipping]
        print_json({**asdict(status), **extra})
        return
    facts = {key.replace("_", " "): value for key, value in asdict(status).items()}
    print_facts({**facts, "state": _cut(state)})
    if settings:
        click.echo("\nsettings:")
        print_facts({f"  {key}": value for key, value in settings.items()})
    click.echo()
    print_table(
        ticks,
        TICK_COLUMNS,
        empty="no ticks recorded yet (polls that find nothing are not recorded)",
    )
    if skipping:
        click.echo("\nskipped for good:")
        items = [
            {"at": tick.started_at, **row}
            for tick in skipping
            for row in map(asdict, tick.skipped_items)
        ]
        print_table(items, SKIPPED_COLUMNS, empty="")


@sensors.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Commit nothing (required).")
@click.option(
    "--state", metavar="JSON", help="Start from this state; @FILE reads a file, @- standard input."
)
@json_option
@pass_session
def poll(session: Session, *, name: str, dry_run: bool, state: str | None, as_json: bool) -> None:
    """Poll a sensor once, within its deadline, and show what a tick would commit.

    The poll starts from the stored state, or from --state. A running runner is not disturbed. What
    the sensor logs goes to standard error.

    With --json an object: sensor, outcome, error, reason (why it found nothing, if the sensor
    gives it), delay (until the next poll; null for the usual interval), duration (of this poll),
    events (a list of objects: asset, partition, partition_shown, key, payload), skipped (a list of
    objects: reason, count, example), state_before (null: the initial state) and state (the new
    one).

    Exit code 1: the poll failed.
    """
    from flowstone_core.model.tick import TickOutcome

    if not dry_run:
        raise click.UsageError(
            "'flowstone run' polls sensors; to see what this one would find, add --dry-run"
        )
    found = session.listing(log_level="info").sensors.poll(name, state=_given(state))
    if as_json:
        print_json(
            {
                "sensor": name,
                "outcome": found.decision.outcome,
                "error": found.decision.error,
                "reason": found.decision.reason or None,
                "delay": found.decision.delay,
                "duration": found.duration,
                "events": _events(found.decision),
                "skipped": _skipped_rows(found.decision),
                "state_before": _parsed(found.before),
                "state": _parsed(found.after),
            }
        )
    else:
        _print_dry_run(found)
    outcome = found.decision.outcome
    if not outcome.good and outcome is not TickOutcome.RETRY_LATER:
        raise Exit(FAILED)


add_pause_and_resume(sensors, "sensor", " from its stored state")
add_rename_and_remove(sensors)


@sensors.command()
@click.argument("name")
@click.option("--forget-keys", is_flag=True, help="Forget event keys: old events fire again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def reset(session: Session, *, name: str, forget_keys: bool, yes: bool) -> None:
    """Reset a sensor: forget its state, its failures and its back-off.

    The sensor starts with its initial state. An event whose key has fired before does not fire
    again, unless --forget-keys is given. The command shows this and asks, unless --yes is given.
    """
    flow = session.changing(lambda flow: flow.sensors.get(name))
    flow.sensors.get(name)
    if not yes:
        click.echo("\n".join(_consequences(flow, name, forget_keys=forget_keys)))
        click.confirm(f"reset sensor {name}?", abort=True)
    flow.sensors.reset(name, forget_keys=forget_keys)
    click.echo(f"sensor {name} is reset")


def _consequences(flow: Flowstone, name: str, *, forget_keys: bool) -> Iterator[str]:
    """Yield what a reset means, a line each."""
    declaration = flow.project.sensors.get(name)
    events = flow.events(source=f"sensor:{name}", limit=1)
    yield f"sensor {name} forgets its state and starts again from the beginning."
    if declaration is not None and declaration.settings.first_poll == "baseline":
        yield "first_poll = baseline: what exists now is recorded and does not fire."
        return
    if not events:
        yield "It has not fired yet: everything that it finds fires."
    elif forget_keys:
        yield "Everything that it finds fires again: the keys of its events are forgotten."
    else:
        yield (
            "Everything that it finds fires again, except events with a key that it has fired "
            "within dedupe_for."
        )
    if events:
        last = events[0]
        shown = partition_fields(last.partition)["partition_shown"]
        yield f"The last event: {last.asset} {shown}, key {last.key}."


def _given(state: str | None) -> str | None:
    if state is None or not state.startswith("@"):
        return state
    try:
        with click.open_file(state[1:], encoding="utf-8") as file:
            text: str = file.read()
            return text
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {state[1:]}: {error}") from None


def _print_dry_run(found: DryRun) -> None:
    print_facts(
        {
            "outcome": found.decision.outcome,
            "error": found.decision.error,
            "reason": found.decision.reason or None,
            "took": f"{found.duration.total_seconds():.3f} s",
            "next poll in": found.decision.delay,
            "state before": _cut(found.before),
            "new state": _cut(found.after),
        }
    )
    click.echo()
    print_table(_events(found.decision), EVENT_COLUMNS, empty="no events")
    skipped = _skipped_rows(found.decision)
    if skipped:
        click.echo("\nskipped for good:")
        columns = {key: SKIPPED_COLUMNS[key] for key in ("count", "reason", "example")}
        print_table(skipped, columns, empty="")
    click.echo("\nNothing was committed.")


def _events(decision: Decision[TickCommit]) -> list[Row]:
    return [
        {
            "asset": event.asset,
            **partition_fields(event.partition),
            "key": event.key,
            "payload": _parsed(event.payload),
        }
        for commit in decision.commits
        for event in commit.events
    ]


def _skipped_rows(decision: Decision[TickCommit]) -> list[Row]:
    return [asdict(item) for commit in decision.commits for item in commit.skipped]


def _parsed(text: str | None) -> object:
    return None if text is None else json.loads(text)


def _cut(state: str | None) -> str | None:
    if state is None or len(state) <= STATE_LIMIT:
        return state
    return f"{state[:STATE_LIMIT]}… ({len(state):,} characters; --json has all)"
