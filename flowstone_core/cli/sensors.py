"""``flowstone sensors``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import (
    json_option,
    partition_fields,
    print_facts,
    print_json,
    print_rows,
)
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.decision import Decision
    from flowstone_core.declaration import SensorDeclaration

SENSOR_COLUMNS = {
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


@click.group()
def sensors() -> None:
    """What looks at the outside world."""


@sensors.command("list")
@json_option
@pass_session
def list_sensors(session: Session, *, as_json: bool) -> None:
    """List sensors, those declared and those that only the store still knows.

    With --json a list of objects: name, health, type, asset, every, where, failures, not_before,
    last_tick_at, last_outcome, last_error, owner. The last tick is the last one that was not
    quiet.
    """
    rows = [asdict(sensor) for sensor in session.flow().sensors()]
    print_rows(rows, SENSOR_COLUMNS, as_json=as_json, empty="no sensors")


@sensors.command()
@click.argument("name")
@json_option
@pass_session
def show(session: Session, *, name: str, as_json: bool) -> None:
    """Show one sensor: how it does, its settings, its state and its last ticks."""
    flow = session.flow()
    status = flow.sensor(name)
    declaration = flow.settings.sensors.get(name)
    settings = settings_of(declaration) if declaration is not None else {}
    state = flow.sensor_state(name)
    ticks = [asdict(tick) for tick in flow.ticks(source=f"sensor:{name}", limit=10)]
    if as_json:
        parsed = None if state is None else json.loads(state)
        print_json({**asdict(status), "settings": settings, "state": parsed, "ticks": ticks})
        return
    print_facts({**asdict(status), **settings, "state": _cut(state)})
    click.echo()
    print_rows(
        ticks,
        {
            "id": "TICK",
            "started_at": "AT",
            "outcome": "OUTCOME",
            "events": "EVENTS",
            "duplicates": "DUPLICATES",
            "error": "ERROR",
        },
        as_json=False,
        empty="no tick yet that was not quiet",
    )


@sensors.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, required=True, help="Commit nothing; it must be given.")
@json_option
@pass_session
def poll(session: Session, *, name: str, dry_run: bool, as_json: bool) -> int:
    """Poll a sensor once, from its stored state, and show what a tick would amount to.

    With --json an object: outcome, error, delay, events (asset, partition, partition_shown, key,
    payload) and state. Exit code 1 if the poll failed.
    """
    if not dry_run:
        raise click.UsageError("runners poll for real; here only --dry-run is possible")
    decision = session.flow().preview_sensor(name)
    events = [
        {
            "asset": event.asset,
            **partition_fields(event.partition),
            "key": event.key,
            "payload": None if event.payload is None else json.loads(event.payload),
        }
        for commit in decision.commits
        for event in commit.events
    ]
    state = decision.commits[-1].after.state if decision.commits else None
    if as_json:
        print_json(
            {
                "outcome": decision.outcome,
                "error": decision.error,
                "delay": decision.delay,
                "events": events,
                "state": None if state is None else json.loads(state),
            }
        )
    else:
        _print_decision(decision, events, state)
    return 0 if decision.outcome.good else 1


@sensors.command()
@click.argument("name")
@pass_session
def pause(session: Session, *, name: str) -> None:
    """Poll a sensor no more until it is resumed; a runner notices within two seconds."""
    session.flow().pause_sensor(name)
    click.echo(f"sensor {name} is paused")


@sensors.command()
@click.argument("name")
@pass_session
def resume(session: Session, *, name: str) -> None:
    """Poll a paused sensor again, from the state it has."""
    session.flow().resume_sensor(name)
    click.echo(f"sensor {name} is resumed")


@sensors.command()
@click.argument("name")
@click.option("--forget-keys", is_flag=True, help="Let events with keys it has had fire again.")
@pass_session
def reset(session: Session, *, name: str, forget_keys: bool) -> None:
    """Forget a sensor's state, failures and back-off: it begins anew.

    It then finds again whatever its state kept it from finding twice.
    """
    session.flow().reset_sensor(name, forget_keys=forget_keys)
    click.echo(f"sensor {name} is reset")


def settings_of(declaration: SensorDeclaration) -> dict[str, str]:
    """Return the settings of a sensor that are not the default, as texts without secrets."""
    from datetime import timedelta

    from flowstone_core.duration import format_duration
    from flowstone_core.redaction import MASK, Redactor, looks_secret

    redact = Redactor(declaration.secrets)
    found = {}
    for model in (declaration.settings, declaration.config):
        for key, field in type(model).model_fields.items():
            value: object = getattr(model, key)
            if value is None or value == field.default:
                continue
            if looks_secret(key):
                found[key] = MASK
            elif isinstance(value, timedelta):
                found[key] = format_duration(value)
            else:
                found[key] = redact(getattr(value, "__qualname__", None) or str(value))
    return found


def _print_decision(decision: Decision, events: list[dict[str, object]], state: str | None) -> None:
    print_facts(
        {
            "outcome": decision.outcome,
            "error": decision.error,
            "delay": decision.delay,
            "state": _cut(state) or "as it was",
        }
    )
    if decision.outcome.good:
        click.echo()
        print_rows(
            events,
            {"asset": "ASSET", "partition_shown": "PARTITION", "key": "KEY", "payload": "PAYLOAD"},
            as_json=False,
            empty="no events",
        )


def _cut(state: str | None) -> str | None:
    if state is None or len(state) <= 500:
        return state
    return f"{state[:500]}… ({len(state):,} characters; --json has all)"
